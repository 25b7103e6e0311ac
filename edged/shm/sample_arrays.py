# SPDX-License-Identifier: Apache-2.0
"""A sample's contents as numpy arrays: the frame and the outputs. Views, never copies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod

import numpy as np
from numpy.typing import NDArray

from edged.records import TensorSpec
from edged.shm.sample import Sample, outputs_layout


class SampleArrays:
    """Arrays over a sample's region.

    Args:
        sample: its words.
        tensors: the prepared graph's outputs; empty where only the pixels are of interest.
    """

    def __init__(self, sample: Sample, tensors: Sequence[TensorSpec] = ()) -> None:
        self._sample = sample
        self._map = sample.region.map
        self._tensors = tuple(tensors)
        layout = outputs_layout(tensors)
        self._offsets = [
            sample.outputs + layout.tensor_offset(0, index) - layout.data for index in range(len(self._tensors))
        ]

    def frame(self, height: int, width: int) -> NDArray[np.uint8]:
        """The frame as a batch of one, uint8 ``1×height×width×3``."""
        start, _ = self._sample.pixels
        size = height * width * 3
        return np.frombuffer(self._map, np.uint8, size, start).reshape(1, height, width, 3)

    def store(self, outputs: Mapping[str, NDArray[np.generic]], place: int) -> None:
        """Copy one frame's part of a batch's outputs in.

        Args:
            outputs: the prepared graph's outputs by name, batches.
            place: of the frame in the batch.
        """
        for index, spec in enumerate(self._tensors):
            part = outputs[spec.name][place]
            self._sample.set_shape(index, part.shape)
            self.view(index, part.shape)[...] = part

    def outputs(self) -> dict[str, NDArray[np.generic]]:
        """The outputs by name, batches of one."""
        return {
            spec.name: self.view(index, self._sample.shape(index))[None] for index, spec in enumerate(self._tensors)
        }

    def view(self, index: int, shape: tuple[int, ...]) -> NDArray[np.generic]:
        """One frame's part of an output, of the shape given."""
        dtype = np.dtype(self._tensors[index].dtype)
        return np.frombuffer(self._map, dtype, prod(shape), self._offsets[index]).reshape(shape)
