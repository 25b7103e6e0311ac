# SPDX-License-Identifier: Apache-2.0
"""The words of a frame ring's slot table, and its slots; see `edged.shm.frame_table` for what they mean."""

from __future__ import annotations

from struct import Struct

from edged.records import Ready
from edged.shm.frame_layout import HEADER, NAME_BYTES, STRIDE, FrameLayout
from edged.shm.region import Region
from edged.shm.table import Table

FREE, WRITING, READY, TAKEN = range(4)

# Header words.
SLOTS, SLOT_BYTES, LIVE, ENDED = 0, 1, 2, 3
CAPTURED, OVERWRITTEN, DECODE_ERROR, STALE, PUBLISHED, LATE, SETTLED, SEQ, FAILED, SHUTDOWN = range(4, 14)
COMMITS, AGE_P50_US, AGE_P99_US, RATE_MILLIHZ, GIVEN_UP, TRIED, TRIES, DAMAGED = range(14, 22)
# Words of a slot. Those from the frame's id on are copied as they are into the output ring.
STATE, READY_NS, FRAME_ID, CAPTURED_NS, CAPTURED_AT_NS, WIDTH, HEIGHT, IN_WIDTH, IN_HEIGHT = range(9)
VIEW, NAME_LENGTH = 9, 11
RECORD_WORDS = NAME_LENGTH + 1 - FRAME_ID
WAITING = Struct("@4q24x2q")
"""What makes a `Ready`, in one go: state, ready, id, captured, then the input's width and height. Native ("@"), because
any other way of unpacking puts a word together from bytes, which another process might change in between."""
make = tuple.__new__
"""Makes a named tuple from values in order, in half the time that calling it takes."""


class FrameSlots:
    """One source's slots, and what every process does with them.

    Attributes:
        region: the memory that is shared.
        layout: where things lie in it.
        words: of the table.
        live: latest wins, or lossless.
    """

    def __init__(self, region: Region, *, layout: FrameLayout | None = None, live: bool = False) -> None:
        self.region = region
        if layout is not None:
            self._table = Table(region, layout.words, create=True)
            words = self._table.words
            words[SLOTS], words[SLOT_BYTES], words[LIVE] = layout.slots, layout.slot_bytes, int(live)
            words[SETTLED] = words[TRIED] = -1
        else:
            header = Table(region, HEADER)
            layout = FrameLayout(header.words[SLOTS], header.words[SLOT_BYTES])
            header.close()
            self._table = Table(region, layout.words)
        self.layout = layout
        self.words = self._table.words
        self.live = bool(self.words[LIVE])
        self._names = memoryview(region.map)[layout.names : layout.names + NAME_BYTES * layout.slots]
        self._bases = [HEADER + STRIDE * slot for slot in range(layout.slots)]
        self._starts = [8 * base for base in self._bases]
        self._next_taken: int | None = None
        self._known: list[Ready] = []

    def _in_state(self, state: int) -> list[int]:
        words = self.words
        slots = [slot for slot, base in enumerate(self._bases) if words[base] == state]
        if len(slots) > 1:
            slots.sort(key=lambda slot: words[self._bases[slot] + FRAME_ID])
        return slots

    def _describe(self, slot: int) -> Ready:
        _, ready_ns, frame_id, captured_ns, width, height = WAITING.unpack_from(self.words, self._starts[slot])
        return make(Ready, (slot, frame_id, captured_ns, ready_ns, height, width))
