# SPDX-License-Identifier: Apache-2.0
"""What infer does with a frame ring: look, take, free."""

from __future__ import annotations

from collections.abc import Sequence

from edged.records import FrameRecord, Ready
from edged.shm.frame_layout import NAME_BYTES, unpack_look
from edged.shm.frame_slots import (
    COMMITS,
    ENDED,
    FRAME_ID,
    FREE,
    READY,
    RECORD_WORDS,
    STALE,
    STATE,
    TAKEN,
    WAITING,
    FrameSlots,
    make,
)


class TakingSide(FrameSlots):
    """The consumer's side of a frame table."""

    @property
    def ended(self) -> bool:
        """Whether the source said that no more frames will come."""
        return bool(self.words[ENDED])

    @property
    def commits(self) -> int:
        """How often a frame was handed over: changes whenever there may be something new to take."""
        return self.words[COMMITS]

    def ready(self) -> list[Ready]:
        """Frames that wait, oldest first.

        Mostly without the lock, so a frame may be gone by the time it is wanted, and on processors that order memory
        weakly what is said of it may be torn: `take` looks again, under the lock.
        """
        found = self._newest() if self.live else self._from_the_last_taken()
        if found:
            return found
        with self._table.locked():
            slots = self._in_state(READY)
            if slots:
                self._next_taken = slots[0]
            return [self._describe(slot) for slot in slots]

    def _newest(self) -> list[Ready]:
        """The frame that waits in a live ring; none while capture puts another in its place."""
        words = self.words
        slots = [slot for slot, base in enumerate(self._bases) if words[base] == READY]
        return [self._describe(slots[0])] if len(slots) == 1 else []

    def _from_the_last_taken(self) -> list[Ready]:
        """The frames behind the last one taken: a lossless ring is filled in order, so none of them is passed over."""
        first = self._next_taken
        if first is None:
            return []
        words, bases, slots, known = self.words, self._bases, len(self._bases), self._known
        if known and (words[bases[first]] != READY or words[bases[first] + FRAME_ID] != known[0][1]):
            known = self._known = []
        # What waited at the last look still does if the oldest does, for frames leave in order: no need to look anew.
        slot = (first + len(known)) % slots
        if words[bases[slot]] == READY and len(known) < slots:
            # The caller has the list of the last look.
            look, known = WAITING.unpack_from, known.copy()
            self._known = known
            while len(known) < slots:
                state, ready_ns, frame_id, captured_ns, width, height = look(words, self._starts[slot])
                if state != READY:
                    break
                known.append(make(Ready, (slot, frame_id, captured_ns, ready_ns, height, width)))
                slot = (slot + 1) % slots
        before = bases[first - 1]
        if known and words[before] == READY and words[before + FRAME_ID] < known[0][1]:
            # Somebody else took from this ring since: what is oldest has to be found again.
            known = self._known = []
        return known

    def take(self, wanted: list[Ready], spent: Sequence[int] = ()) -> list[Ready]:
        """Take waiting frames for a batch.

        Args:
            wanted: from `ready`. What was overwritten meanwhile, or is not as it was said to be, is left out; in a
                lossless ring all that follows it, too, for frames leave in order.
            spent: slots to free under the same lock, see `release`.
        """
        words, bases, starts, look = self.words, self._bases, self._starts, WAITING.unpack_from
        kept: list[Ready] = []
        with self._table.locked():
            for slot in spent:
                words[bases[slot]] = FREE
            # Each on its own: a kill in between leaves some taken and some waiting, which is just as well.
            for frame in wanted:
                slot = frame[0]
                state, ready_ns, frame_id, captured_ns, width, height = look(words, starts[slot])
                as_said = frame == (slot, frame_id, captured_ns, ready_ns, height, width)
                if as_said and state == READY:
                    words[bases[slot]] = TAKEN
                    kept.append(frame)
                elif not self.live:
                    break
        if kept:
            self._next_taken = (kept[-1].slot + 1) % len(bases)
            self._known = [frame for frame in self._known if frame.frame_id > kept[-1].frame_id]
        if len(kept) < len(wanted):
            self._known = []
        return kept

    def take_one(self, frame: Ready, spent: Sequence[int] = ()) -> bool:
        """As `take`, for the oldest frame that waits alone, in less time; tells whether it was taken."""
        words, bases, slot = self.words, self._bases, frame[0]
        with self._table.locked():
            for each in spent:
                words[bases[each]] = FREE
            state, ready_ns, frame_id, captured_ns, width, height = WAITING.unpack_from(words, self._starts[slot])
            taken = state == READY and frame == (slot, frame_id, captured_ns, ready_ns, height, width)
            if taken:
                words[bases[slot]] = TAKEN
        if taken:
            self._next_taken = (slot + 1) % len(bases)
        known = self._known
        if known:
            self._known = known[1:] if taken and known[0][1] == frame[1] else []
        return taken

    def drop_stale(self, wanted: list[Ready]) -> int:
        """Drop waiting frames that are too old to be worth a place in a batch; returns how many were still there."""
        taken = self.take(wanted)
        for frame in taken:
            with self._table.locked():
                self._table.change([(self._bases[frame.slot] + STATE, FREE), (STALE, self.words[STALE] + 1)])
        return len(taken)

    def release(self, slots: list[int]) -> None:
        """Free slots whose frames are no longer read."""
        with self._table.locked():
            for slot in slots:
                self.words[self._bases[slot] + STATE] = FREE

    def record_words(self, slot: int) -> memoryview:
        """The words of a slot that the caller holds from the frame's id on, in the order of the output ring."""
        start = self._bases[slot] + FRAME_ID
        return self.words[start : start + RECORD_WORDS]

    def name(self, slot: int, length: int) -> memoryview:
        """The first bytes of the file name in a slot that the caller holds."""
        return self._names[NAME_BYTES * slot : NAME_BYTES * slot + length]

    def record(self, source: int, slot: int) -> FrameRecord:
        """What is known of the frame in a slot that the caller holds."""
        frame_id, captured_ns, captured_at_ns, width, height, in_width, in_height, first, second, length = (
            self.record_words(slot)
        )
        name = bytes(self.name(slot, length)).decode("utf-8", "ignore")
        look = unpack_look(first, second)
        return FrameRecord(
            source, frame_id, captured_ns, captured_at_ns, width, height, in_width, in_height, name, *look
        )
