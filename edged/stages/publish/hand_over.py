# SPDX-License-Identifier: Apache-2.0
"""Handing over to the verify process what was published of a frame that capture has set aside. Never waits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from edged.records import TensorSpec
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.shm.wake import Wake


class HandOver:
    """One source's sample, as publish sees it.

    The outputs are copied, not what was made of them: verify puts both sides through the same postprocess, and the
    copy has a fixed bound.

    Args:
        sample: of the source.
        tensors: the prepared graph's outputs.
        wake: of the verify process.
    """

    def __init__(self, sample: Sample, tensors: Sequence[TensorSpec], wake: Wake) -> None:
        self._sample = sample
        self._arrays = SampleArrays(sample, tensors)
        self._wake = wake

    def settled(
        self, frame_id: int, outputs: Mapping[str, NDArray[np.generic]], place: int, *, published: bool
    ) -> None:
        """Note what became of a frame; frames come in the order of their numbers.

        Args:
            frame_id: its number.
            outputs: of its batch, by name.
            place: in the batch.
            published: whether it was.
        """
        if published and self._sample.awaits(frame_id):
            self._arrays.store(outputs, place)
            self._sample.hand_over()
            self._wake.set()
        else:
            self._sample.pass_by(frame_id)

    def close(self) -> None:
        """Let go of the sample."""
        self._sample.close()
