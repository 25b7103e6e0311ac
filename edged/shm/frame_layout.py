# SPDX-License-Identifier: Apache-2.0
"""Where things lie in a frame ring's region."""

from __future__ import annotations

from dataclasses import dataclass

from edged.records import WHOLE, View
from edged.shm.region import align
from edged.shm.table import HEADER_BYTES

NAME_BYTES = 256
"""Longest file name that travels with a frame, UTF-8."""
HEADER = 24
"""Words before the first slot's."""
STRIDE = 12
"""Words of a slot."""


@dataclass(frozen=True)
class FrameLayout:
    """Where things lie in a frame ring's region: table, file names, pixels."""

    slots: int
    slot_bytes: int

    @property
    def words(self) -> int:
        """Words of the table."""
        return HEADER + STRIDE * self.slots

    @property
    def names(self) -> int:
        """Byte offset of the file names."""
        return HEADER_BYTES + 8 * self.words

    @property
    def pixels(self) -> int:
        """Byte offset of the first slot's pixels, on a page boundary so that the device can lock the pages."""
        return align(self.names + NAME_BYTES * self.slots)

    @property
    def total(self) -> int:
        """Bytes of the region."""
        return align(self.pixels + self.slots * self.slot_bytes)


_SIDE_BITS = 30
_SIDE = (1 << _SIDE_BITS) - 1
_TURNS = 3
_DAMAGED = 1 << 62


def pack_look(view: View, damaged: bool) -> tuple[int, int]:
    """How a frame is looked at, and whether it is damaged, as two words: corners of 30 bits a coordinate, the turns
    above, then the damage; zeros for an undamaged `edged.records.WHOLE`."""
    mark = _DAMAGED if damaged else 0
    if view == WHOLE:
        return 0, mark
    x1, y1, x2, y2 = view.region or (0, 0, 0, 0)
    return x1 | y1 << _SIDE_BITS, x2 | y2 << _SIDE_BITS | view.turns << 2 * _SIDE_BITS | mark


def unpack_look(first: int, second: int) -> tuple[View, bool]:
    """The view and the damage that `pack_look` made two words of."""
    if not second:
        return WHOLE, False
    damaged = bool(second & _DAMAGED)
    if second == _DAMAGED:
        return WHOLE, True
    region = first & _SIDE, first >> _SIDE_BITS, second & _SIDE, second >> _SIDE_BITS & _SIDE
    return View(second >> 2 * _SIDE_BITS & _TURNS, region if region[2] else None), damaged
