# SPDX-License-Identifier: Apache-2.0
"""Where things lie in a frame ring's region."""

from __future__ import annotations

from dataclasses import dataclass

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
