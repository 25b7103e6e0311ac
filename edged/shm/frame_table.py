# SPDX-License-Identifier: Apache-2.0
"""Slot table and counters of one source's frame ring; no pixels, no numpy, so that the supervisor may use it too.

A slot goes FREE → WRITING (capture fills it) → READY → TAKEN (infer reads it) → FREE. Every frame is counted once, in
the same atomic change that moves it:

    captured = published + dropped (by reason) + in flight

Each counter has one writer: capture (captured, overwritten, decode_error, damaged), infer (stale), publish (published,
late, given up), the supervisor (failed, shutdown). ``late`` are results too old by the time they came to be published;
with ``stale`` they make the reason ``stale`` of messages, as ``given up`` with ``failed`` make ``failed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edged.shm.frame_capture import FillingSide
from edged.shm.frame_infer import TakingSide
from edged.shm.frame_layout import FrameLayout
from edged.shm.frame_slots import (
    AGE_P50_US,
    AGE_P99_US,
    CAPTURED,
    COMMITS,
    DAMAGED,
    DECODE_ERROR,
    ENDED,
    FAILED,
    FRAME_ID,
    FREE,
    GIVEN_UP,
    LATE,
    OVERWRITTEN,
    PUBLISHED,
    RATE_MILLIHZ,
    READY,
    RECORD_WORDS,
    SEQ,
    SETTLED,
    SHUTDOWN,
    STALE,
    STATE,
    TAKEN,
    TRIED,
    TRIES,
    WRITING,
)
from edged.shm.region import Region

__all__ = [
    "AGE_P50_US",
    "AGE_P99_US",
    "CAPTURED",
    "COMMITS",
    "ENDED",
    "RATE_MILLIHZ",
    "READY",
    "RECORD_WORDS",
    "SEQ",
    "STALE",
    "TAKEN",
    "Counts",
    "FrameTable",
]

_HISTORY = (*range(CAPTURED, SHUTDOWN + 1), GIVEN_UP, DAMAGED)
"""Counters that go on when a source that was removed comes back."""


class Counts(NamedTuple):
    """One source's counters, all read at the same moment.

    ``damaged`` are frames like any other, so they are in one of the others as well.
    """

    captured: int
    published: int
    overwritten: int
    stale: int
    decode_error: int
    failed: int
    shutdown: int
    damaged: int = 0

    @property
    def in_flight(self) -> int:
        """Frames captured but neither published nor dropped."""
        return self.captured - self.published - sum(self[2:-1])


class FrameTable(FillingSide, TakingSide):
    """One source's slot table; the methods are grouped by the process that calls them, those of capture and infer in
    modules of their own."""

    @classmethod
    def create(cls, slots: int, slot_bytes: int, *, live: bool, history: Sequence[int] = ()) -> FrameTable:
        """Make a new ring.

        Args:
            slots: how many.
            slot_bytes: bytes of each.
            live: latest wins, or lossless.
            history: of the ring that the source had before, see `history`.
        """
        layout = FrameLayout(slots, slot_bytes)
        made = cls(Region.create("edged-frames", layout.total), layout=layout, live=live)
        for word, value in zip(_HISTORY, history, strict=False):
            made.words[word] = value
        return made

    # publish ---------------------------------------------------------------------------------------------------------

    @property
    def settled(self) -> int:
        """Id of the last frame that was published or dropped as late; -1 at first."""
        return self.words[SETTLED]

    def attempt(self, frame_id: int) -> int:
        """Note that a frame's result is about to be read; returns how often that was so, with this time.

        More than once means that a publish process died over it. One writer, so no lock.
        """
        words = self.words
        tries = words[TRIES] + 1 if words[TRIED] == frame_id else 1
        words[TRIES] = tries
        words[TRIED] = frame_id
        return tries

    def give_up(self, frame_id: int) -> None:
        """Count a result as failed: it has killed publish more than once."""
        words = self.words
        with self._table.locked():
            self._table.change([(SETTLED, frame_id), (GIVEN_UP, words[GIVEN_UP] + 1)])

    def settle(self, frame_id: int, *, published: bool) -> int:
        """Count a result as published (returns its sequence number) or as late (returns 0).

        Counted before it is sent: if publish is killed in between, a message is lost, but never sent twice.
        """
        words = self.words
        with self._table.locked():
            if not published:
                self._table.change([(SETTLED, frame_id), (LATE, words[LATE] + 1)])
                return 0
            seq = words[SEQ] + 1
            self._table.change([(SETTLED, frame_id), (PUBLISHED, words[PUBLISHED] + 1), (SEQ, seq)])
            return seq

    # supervisor ------------------------------------------------------------------------------------------------------

    def counts(self) -> Counts:
        """All counters at one moment."""
        with self._table.locked():
            return self._counts()

    def history(self) -> tuple[int, ...]:
        """All counters, for the ring of the same source when it comes back."""
        with self._table.locked():
            return tuple(self.words[word] for word in _HISTORY)

    @property
    def owed(self) -> int:
        """Frames that wait for infer or are in its hands; without the lock, see `OutputTable.waiting`."""
        words = self.words
        return sum(words[base + STATE] in (READY, TAKEN) for base in self._bases)

    def _counts(self) -> Counts:
        words = self.words
        stale = words[STALE] + words[LATE]
        return Counts(
            words[CAPTURED],
            words[PUBLISHED],
            words[OVERWRITTEN],
            stale,
            words[DECODE_ERROR],
            words[FAILED] + words[GIVEN_UP],
            words[SHUTDOWN],
            words[DAMAGED],
        )

    def reclaim_written(self) -> None:
        """After capture died: free the slot it was writing; that frame was never counted."""
        with self._table.locked():
            for slot in self._in_state(WRITING):
                self.words[self._bases[slot] + STATE] = FREE

    def reclaim_taken(self, delivered: set[int]) -> int:
        """After infer died: free what it held and count as failed what it had not delivered.

        Args:
            delivered: ids of this source's frames whose results lie ready in the output ring.

        Returns:
            Frames counted as failed.
        """
        words = self.words
        with self._table.locked():
            held = self._in_state(TAKEN)
            lost = {
                slot
                for slot in held
                if (frame_id := words[self._bases[slot] + FRAME_ID]) not in delivered and frame_id > words[SETTLED]
            }
            for slot in held:
                failed = words[FAILED] + (1 if slot in lost else 0)
                self._table.change([(self._bases[slot] + STATE, FREE), (FAILED, failed)])
        return len(lost)

    def count_shutdown(self) -> int:
        """At the very end, with every other process gone: what is still in flight is lost to the shutdown."""
        with self._table.locked():
            lost = self._counts().in_flight
            if lost:
                self.words[SHUTDOWN] += lost
        return lost

    def be_patient_for(self, seconds: float) -> None:
        """How long this process waits for the lock from now on; SharedMemoryError after that."""
        self._table.be_patient_for(seconds)

    def close(self) -> None:
        """Release the mapping and the descriptors."""
        self._names.release()
        self._table.close()
        self.region.close()
