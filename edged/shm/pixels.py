# SPDX-License-Identifier: Apache-2.0
"""The rings' contents as numpy arrays: frames in a frame ring, tensors in an output ring. Views, never copies."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

import numpy as np
from numpy.typing import NDArray

from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputTable

Frames = NDArray[np.uint8]


class FramePixels:
    """Pixels of a frame ring.

    Slots follow one another without a gap, so consecutive slots that hold full-size frames are one ``n×H×W×3`` array.
    """

    def __init__(self, table: FrameTable) -> None:
        layout = table.layout
        self._slot_bytes = layout.slot_bytes
        self._views: dict[int, Frames] = {}
        size = layout.slots * layout.slot_bytes
        self._bytes: Frames = np.frombuffer(table.region.map, dtype=np.uint8, count=size, offset=layout.pixels)
        self._start = int(self._bytes.ctypes.data)

    def frame(self, slot: int, height: int, width: int) -> Frames:
        """The slot's frame, uint8 ``height×width×3``."""
        view = self._views.get(slot)
        if view is None or view.shape != (height, width, 3):
            # Kept, one a slot: frames mostly have one shape, and making a view takes longer than all else in here.
            start = slot * self._slot_bytes
            view = self._views[slot] = self._bytes[start : start + height * width * 3].reshape(height, width, 3)
        return view

    def address(self, slot: int) -> int:
        """Where the slot's frame starts in this process."""
        return self._start + slot * self._slot_bytes

    def batch(self, slots: list[int], height: int, width: int) -> Frames | None:
        """Frames of several slots as one uint8 ``n×height×width×3`` array; None where they do not lie side by side."""
        first, count = slots[0], len(slots)
        size = height * width * 3
        if count > 1 and (size != self._slot_bytes or slots != list(range(first, first + count))):
            return None
        start = first * self._slot_bytes
        return self._bytes[start : start + count * size].reshape(count, height, width, 3)


class OutputTensors:
    """Tensors of an output ring."""

    def __init__(self, table: OutputTable) -> None:
        self._table = table
        self._layout = table.layout
        self._map = table.region.map
        self.names = [tensor.name for tensor in self._layout.tensors]

    def view(self, slot: int, index: int, count: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        """One tensor of a slot's batch, ``count×shape``.

        Args:
            slot: the ring's slot.
            index: which output tensor.
            count: frames in the batch.
            shape: one frame's shape; the fixed one when None.
        """
        spec = self._layout.tensors[index]
        extents = (count, *(spec.shape if shape is None else shape))
        size = prod(extents)
        offset = self._layout.tensor_offset(slot, index)
        return np.frombuffer(self._map, dtype=np.dtype(spec.dtype), count=size, offset=offset).reshape(extents)

    def outputs(self, slot: int, count: int) -> Mapping[str, NDArray[np.generic]]:
        """All tensors of a delivered batch by name."""
        return {
            name: self.view(slot, index, count, self._table.shape(slot, index)) for index, name in enumerate(self.names)
        }
