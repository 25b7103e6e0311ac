# SPDX-License-Identifier: Apache-2.0
"""What capture does with a frame ring: take a slot, hand it over, count."""

from __future__ import annotations

from edged.records import FrameRecord
from edged.shm.frame_layout import NAME_BYTES, pack_look
from edged.shm.frame_slots import (
    CAPTURED,
    CAPTURED_AT_NS,
    CAPTURED_NS,
    COMMITS,
    DAMAGED,
    DECODE_ERROR,
    ENDED,
    FRAME_ID,
    FREE,
    HEIGHT,
    IN_HEIGHT,
    IN_WIDTH,
    NAME_LENGTH,
    OVERWRITTEN,
    READY,
    READY_NS,
    STATE,
    VIEW,
    WIDTH,
    WRITING,
    FrameSlots,
)


class FillingSide(FrameSlots):
    """The producer's side of a frame table."""

    def acquire(self) -> int | None:
        """A slot to write into; None when a lossless ring is full.

        A live ring always yields one: with no slot free, the frame that waits is overwritten (and counted).
        """
        with self._table.locked():
            slot = self._next_free()
            if slot is not None:
                self.words[self._bases[slot] + STATE] = WRITING
            elif self.live:
                slot = self._overwrite_oldest()
            return slot

    def _next_free(self) -> int | None:
        # Lossless slots are handed out in ring order, so that a batch lies contiguous and is inferred in place.
        slots = self.layout.slots
        start = 0 if self.live else self.words[COMMITS] % slots
        for step in range(slots if self.live else 1):
            slot = (start + step) % slots
            if self.words[self._bases[slot] + STATE] == FREE:
                return slot
        return None

    def _overwrite_oldest(self) -> int | None:
        waiting = self._in_state(READY)
        if not waiting:
            return None
        base = self._bases[waiting[0]]
        self._table.change([(base + STATE, WRITING), (OVERWRITTEN, self.words[OVERWRITTEN] + 1)])
        return waiting[0]

    def commit(self, slot: int, frame: FrameRecord, now_ns: int) -> int:
        """Hand a written slot over; returns the frame's id.

        On a live ring the frame that waited until now is overwritten.

        Args:
            slot: from `acquire`.
            frame: what is known of it; its ``frame_id`` is ignored, the ring counts.
            now_ns: CLOCK_MONOTONIC.
        """
        words, base = self.words, self._bases[slot]
        name = frame.file.encode("utf-8", "replace")[:NAME_BYTES] if frame.file else b""
        if name:
            self._names[NAME_BYTES * slot : NAME_BYTES * slot + len(name)] = name
        first, second = pack_look(frame.view, frame.damaged)
        with self._table.locked():
            frame_id = words[CAPTURED]
            words[base + FRAME_ID] = frame_id
            words[base + CAPTURED_NS], words[base + CAPTURED_AT_NS] = frame.captured_ns, frame.captured_at_ns
            words[base + READY_NS], words[base + NAME_LENGTH] = now_ns, len(name)
            words[base + WIDTH], words[base + HEIGHT] = frame.width, frame.height
            words[base + IN_WIDTH], words[base + IN_HEIGHT] = frame.input_width, frame.input_height
            words[base + VIEW], words[base + VIEW + 1] = first, second
            changes = [(base + STATE, READY), (CAPTURED, frame_id + 1), (COMMITS, words[COMMITS] + 1)]
            if frame.damaged:
                changes.append((DAMAGED, words[DAMAGED] + 1))
            if self.live:
                older = self._in_state(READY)
                changes += [(self._bases[other] + STATE, FREE) for other in older]
                if older:
                    changes.append((OVERWRITTEN, words[OVERWRITTEN] + len(older)))
            self._table.change(changes)
        return frame_id

    def count_broken(self) -> None:
        """Count a frame that was taken from the source but is no picture."""
        with self._table.locked():
            words = self.words
            self._table.change([(CAPTURED, words[CAPTURED] + 1), (DECODE_ERROR, words[DECODE_ERROR] + 1)])

    def count_overtaken(self, frames: int) -> None:
        """Count frames that were taken from the source and passed over, because newer ones were there already."""
        with self._table.locked():
            words = self.words
            self._table.change([(CAPTURED, words[CAPTURED] + frames), (OVERWRITTEN, words[OVERWRITTEN] + frames)])

    def set_ended(self, ended: bool) -> None:
        """Say that no more frames will come (or that they will again)."""
        self.words[ENDED] = int(ended)
