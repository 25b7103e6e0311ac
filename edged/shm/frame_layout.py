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


def pack_view(view: View) -> tuple[int, int]:
    """A view as two words: corners of 30 bits a coordinate, the turns above; zeros for `edged.records.WHOLE`."""
    if view == WHOLE:
        return 0, 0
    x1, y1, x2, y2 = view.region or (0, 0, 0, 0)
    return x1 | y1 << _SIDE_BITS, x2 | y2 << _SIDE_BITS | view.turns << 2 * _SIDE_BITS


def unpack_view(first: int, second: int) -> View:
    """The view that `pack_view` made two words of."""
    if not second:
        return WHOLE
    region = first & _SIDE, first >> _SIDE_BITS, second & _SIDE, second >> _SIDE_BITS & _SIDE
    return View(second >> 2 * _SIDE_BITS, region if region[2] else None)
