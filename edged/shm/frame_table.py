# SPDX-License-Identifier: Apache-2.0
"""Slot table and counters of one source's frame ring; no pixels, no numpy, so that the supervisor may use it too.

A slot goes FREE → WRITING (capture fills it) → READY → TAKEN (infer reads it) → FREE. Every frame is counted once, in
the same atomic change that moves it:

    captured = published + dropped (by reason) + in flight

Each counter has one writer: capture (captured, overwritten, decode_error), infer (stale), publish (published, late,
given up), the supervisor (failed, shutdown). ``late`` are results too old by the time they came to be published; with
``stale`` they make the reason ``stale`` of messages, as ``given up`` with ``failed`` make ``failed``.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct
from typing import NamedTuple

from edged.records import FrameRecord, Ready
from edged.shm.frame_layout import HEADER, NAME_BYTES, STRIDE, FrameLayout
from edged.shm.region import Region
from edged.shm.table import Table

FREE, WRITING, READY, TAKEN = range(4)

# Header words.
_SLOTS, _SLOT_BYTES, _LIVE, ENDED = 0, 1, 2, 3
CAPTURED, OVERWRITTEN, DECODE_ERROR, STALE, PUBLISHED, LATE, SETTLED, SEQ, FAILED, SHUTDOWN = range(4, 14)
COMMITS, AGE_P50_US, AGE_P99_US, RATE_MILLIHZ, GIVEN_UP, _TRIED, _TRIES = range(14, 21)
# Words of a slot. Those from the frame's id on are copied as they are into the output ring.
_STATE, _READY_NS, _FRAME_ID, _CAPTURED_NS, _CAPTURED_AT_NS, _WIDTH, _HEIGHT, _IN_WIDTH, _IN_HEIGHT, _NAME_LENGTH = (
    range(10)
)
RECORD_WORDS = _NAME_LENGTH + 1 - _FRAME_ID
_WAITING = Struct("@4q24x2q")
"""What makes a `Ready`, in one go: state, ready, id, captured, then the input's width and height. Native ("@"), because
any other way of unpacking puts a word together from bytes, which another process might change in between."""
_make = tuple.__new__
"""Makes a named tuple from values in order, in half the time that calling it takes."""


class Counts(NamedTuple):
    """One source's counters, all read at the same moment."""

    captured: int
    published: int
    overwritten: int
    stale: int
    decode_error: int
    failed: int
    shutdown: int

    @property
    def in_flight(self) -> int:
        """Frames captured but neither published nor dropped."""
        return self.captured - self.published - sum(self[2:])


class FrameTable:
    """One source's slot table; the methods are grouped by the process that calls them."""

    def __init__(self, region: Region, *, layout: FrameLayout | None = None, live: bool = False) -> None:
        self.region = region
        if layout is not None:
            self._table = Table(region, layout.words, create=True)
            words = self._table.words
            words[_SLOTS], words[_SLOT_BYTES], words[_LIVE] = layout.slots, layout.slot_bytes, int(live)
            words[SETTLED] = words[_TRIED] = -1
        else:
            header = Table(region, HEADER)
            layout = FrameLayout(header.words[_SLOTS], header.words[_SLOT_BYTES])
            header.close()
            self._table = Table(region, layout.words)
        self.layout = layout
        self.words = self._table.words
        self.live = bool(self.words[_LIVE])
        self._names = memoryview(region.map)[layout.names : layout.names + NAME_BYTES * layout.slots]
        self._bases = [HEADER + STRIDE * slot for slot in range(layout.slots)]
        self._starts = [8 * base for base in self._bases]
        self._next_taken: int | None = None
        self._known: list[Ready] = []

    @classmethod
    def create(cls, slots: int, slot_bytes: int, *, live: bool) -> FrameTable:
        """Make a new ring of ``slots`` slots of ``slot_bytes`` bytes each."""
        layout = FrameLayout(slots, slot_bytes)
        return cls(Region.create("edged-frames", layout.total), layout=layout, live=live)

    # capture ---------------------------------------------------------------------------------------------------------

    def acquire(self) -> int | None:
        """A slot to write into; None when a lossless ring is full.

        A live ring always yields one: with no slot free, the frame that waits is overwritten (and counted).
        """
        with self._table.locked():
            slot = self._next_free()
            if slot is not None:
                self.words[self._bases[slot] + _STATE] = WRITING
            elif self.live:
                slot = self._overwrite_oldest()
            return slot

    def _next_free(self) -> int | None:
        # Lossless slots are handed out in ring order, so that a batch lies contiguous and is inferred in place.
        slots = self.layout.slots
        start = 0 if self.live else self.words[COMMITS] % slots
        for step in range(slots if self.live else 1):
            slot = (start + step) % slots
            if self.words[self._bases[slot] + _STATE] == FREE:
                return slot
        return None

    def _overwrite_oldest(self) -> int | None:
        waiting = self._in_state(READY)
        if not waiting:
            return None
        base = self._bases[waiting[0]]
        self._table.change([(base + _STATE, WRITING), (OVERWRITTEN, self.words[OVERWRITTEN] + 1)])
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
        with self._table.locked():
            frame_id = words[CAPTURED]
            words[base + _FRAME_ID] = frame_id
            words[base + _CAPTURED_NS], words[base + _CAPTURED_AT_NS] = frame.captured_ns, frame.captured_at_ns
            words[base + _READY_NS], words[base + _NAME_LENGTH] = now_ns, len(name)
            words[base + _WIDTH], words[base + _HEIGHT] = frame.width, frame.height
            words[base + _IN_WIDTH], words[base + _IN_HEIGHT] = frame.input_width, frame.input_height
            changes = [(base + _STATE, READY), (CAPTURED, frame_id + 1), (COMMITS, words[COMMITS] + 1)]
            if self.live:
                older = self._in_state(READY)
                changes += [(self._bases[other] + _STATE, FREE) for other in older]
                if older:
                    changes.append((OVERWRITTEN, words[OVERWRITTEN] + len(older)))
            self._table.change(changes)
        return frame_id

    def count_broken(self) -> None:
        """Count a frame that was taken from the source but is no picture."""
        with self._table.locked():
            words = self.words
            self._table.change([(CAPTURED, words[CAPTURED] + 1), (DECODE_ERROR, words[DECODE_ERROR] + 1)])

    def set_ended(self, ended: bool) -> None:
        """Say that no more frames will come (or that they will again)."""
        self.words[ENDED] = int(ended)

    # infer -----------------------------------------------------------------------------------------------------------

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
        if known and (words[bases[first]] != READY or words[bases[first] + _FRAME_ID] != known[0][1]):
            known = self._known = []
        # What waited at the last look still does if the oldest does, for frames leave in order: no need to look anew.
        slot = (first + len(known)) % slots
        if words[bases[slot]] == READY and len(known) < slots:
            # The caller has the list of the last look.
            look, known = _WAITING.unpack_from, known.copy()
            self._known = known
            while len(known) < slots:
                state, ready_ns, frame_id, captured_ns, width, height = look(words, self._starts[slot])
                if state != READY:
                    break
                known.append(_make(Ready, (slot, frame_id, captured_ns, ready_ns, height, width)))
                slot = (slot + 1) % slots
        before = bases[first - 1]
        if known and words[before] == READY and words[before + _FRAME_ID] < known[0][1]:
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
        words, bases, starts, look = self.words, self._bases, self._starts, _WAITING.unpack_from
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

    def drop_stale(self, wanted: list[Ready]) -> int:
        """Drop waiting frames that are too old to be worth a place in a batch; returns how many were still there."""
        taken = self.take(wanted)
        for frame in taken:
            with self._table.locked():
                self._table.change([(self._bases[frame.slot] + _STATE, FREE), (STALE, self.words[STALE] + 1)])
        return len(taken)

    def release(self, slots: list[int]) -> None:
        """Free slots whose frames are no longer read."""
        with self._table.locked():
            for slot in slots:
                self.words[self._bases[slot] + _STATE] = FREE

    def record_words(self, slot: int) -> memoryview:
        """The words of a slot that the caller holds from the frame's id on, in the order of the output ring."""
        start = self._bases[slot] + _FRAME_ID
        return self.words[start : start + RECORD_WORDS]

    def name(self, slot: int, length: int) -> memoryview:
        """The first bytes of the file name in a slot that the caller holds."""
        return self._names[NAME_BYTES * slot : NAME_BYTES * slot + length]

    def record(self, source: int, slot: int) -> FrameRecord:
        """What is known of the frame in a slot that the caller holds."""
        frame_id, captured_ns, captured_at_ns, width, height, input_width, input_height, length = self.record_words(
            slot
        )
        name = bytes(self.name(slot, length)).decode("utf-8", "ignore")
        return FrameRecord(
            source, frame_id, captured_ns, captured_at_ns, width, height, input_width, input_height, name
        )

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
        tries = words[_TRIES] + 1 if words[_TRIED] == frame_id else 1
        words[_TRIES] = tries
        words[_TRIED] = frame_id
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
        )

    def reclaim_written(self) -> None:
        """After capture died: free the slot it was writing; that frame was never counted."""
        with self._table.locked():
            for slot in self._in_state(WRITING):
                self.words[self._bases[slot] + _STATE] = FREE

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
                if (frame_id := words[self._bases[slot] + _FRAME_ID]) not in delivered and frame_id > words[SETTLED]
            }
            for slot in held:
                failed = words[FAILED] + (1 if slot in lost else 0)
                self._table.change([(self._bases[slot] + _STATE, FREE), (FAILED, failed)])
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

    # -----------------------------------------------------------------------------------------------------------------

    def _in_state(self, state: int) -> list[int]:
        words = self.words
        slots = [slot for slot, base in enumerate(self._bases) if words[base] == state]
        if len(slots) > 1:
            slots.sort(key=lambda slot: words[self._bases[slot] + _FRAME_ID])
        return slots

    def _describe(self, slot: int) -> Ready:
        _, ready_ns, frame_id, captured_ns, width, height = _WAITING.unpack_from(self.words, self._starts[slot])
        return _make(Ready, (slot, frame_id, captured_ns, ready_ns, height, width))
