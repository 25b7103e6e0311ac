# SPDX-License-Identifier: Apache-2.0
"""The infer loop: one thread that takes what waits, submits it, and hands over what is done.

It waits on its wake-up descriptor, which is set by whatever it has to look at: new frames, free output slots and, with
most executors, batches that are done; with an executor that does not tell, it waits on the oldest batch while work is
in flight. It never waits for publish: with the output ring full it stops taking frames, so live ones are overwritten by
newer ones in their rings (and counted there) and lossless ones wait.

A device that has a free slot gets its next batch before anything else is tidied up: results are put into the output
ring first (that is little), but publish is woken and the slots of their frames are freed once the next batch was
submitted, or under the lock under which the source's next frame is taken. On a busy machine, whoever wakes another
process may have to give up the core to it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Mapping, Sequence
from typing import cast

from edged.records import Ready
from edged.shm.board import Row
from edged.shm.frame_table import COMMITS, ENDED
from edged.shm.wake import Wake
from edged.stages.infer.cost import Occupancy
from edged.stages.infer.pipeline import SlotPipeline, Source

Picks = Sequence[tuple[int, Ready]]
Decide = Callable[
    [int, Mapping[int, Sequence[Ready]], Callable[[int], int], Container[int], int, int],
    tuple[Picks, Picks, int | None],
]
_NONE: tuple[int, ...] = ()
_COLLATE, _SUBMIT, _INFER, _DELIVER = range(4)
_LONGEST_WAIT_S = 0.5
_LOOK_S = 0.1
"""A device that is lost tells nothing: with work in flight it is asked this often."""


class InferLoop:
    """Ties the rings, the batching policy and the slot pipeline together.

    Args:
        pipeline: over the executor.
        sources: by index; indices may be left out.
        decide: the batching policy, see `edged.stages.collate.policy.Collator.decide`.
        wake: set by capture (a frame is ready), publish (an output slot is free) and the supervisor.
        wake_publish: descriptor to set when results are ready.
        row: this process's row of the board.
        announced: whether ``wake`` is set when a batch is done too, so that the loop need not wait for a certain one.
        asynchronous: whether submitting returns before the batch is done; where it does not, the time of submitting
            holds that of inference, which is taken off again when the batch is delivered.
        lanes: batches that the device computes side by side, where it takes more than that; None where it does not, so
            that no batch ever waits for another one.
    """

    def __init__(
        self,
        pipeline: SlotPipeline,
        sources: Sequence[Source] | Mapping[int, Source],
        decide: Decide,
        *,
        wake: Wake,
        wake_publish: Wake,
        row: Row,
        announced: bool = False,
        asynchronous: bool = True,
        lanes: int | None = None,
    ) -> None:
        self._pipeline = pipeline
        self._decide = decide
        self._wake = wake
        self._wake_publish = wake_publish
        self._row = row
        self._announced = announced
        self._asynchronous = asynchronous
        self._occupancy = Occupancy(lanes)
        given = dict(sources if isinstance(sources, Mapping) else enumerate(sources))
        self._tables = {index: source.table for index, source in given.items()}
        self._words = {index: table.words for index, table in self._tables.items()}
        self._ended = _Ended(self._words)
        self._writers = {index: Wake(source.wake_writer) for index, source in given.items()}
        self._seen = dict.fromkeys(given, -1)
        self._waiting: dict[int, list[Ready]] = {}
        self._spent: dict[int, list[int]] = {}
        self._results = False

    def run(self, should_stop: Callable[[], bool]) -> None:
        """Work until ``should_stop``, which is asked at least twice a second; then finish what is in flight."""
        while not should_stop():
            moved = self._deliver_done()
            if not self._asynchronous:
                # Submitting takes as long as the batch: nobody shall wait for that.
                self._release()
            wake_ns = self._submit_next()
            self._release()
            if self._announced:
                if wake_ns != 0 or self._pipeline.full:
                    # Waiting unsets the wake-up before the next look, so that what comes after the look wakes.
                    self._wake.wait(self._until(wake_ns or None))
            elif wake_ns != 0 and not moved:
                if self._pipeline.in_flight:
                    self._pipeline.done(self._until(wake_ns))
                else:
                    self._wake.wait(self._until(wake_ns))

    def add(self, index: int, source: Source) -> None:
        """Take frames of one more source from now on."""
        self._pipeline.add(index, source)
        self._tables[index], self._words[index] = source.table, source.table.words
        self._writers[index], self._seen[index] = Wake(source.wake_writer), -1

    def decide_with(self, decide: Decide) -> None:
        """Batch by another policy from now on."""
        self._decide = decide

    def retire(self, index: int) -> None:
        """Take nothing more of a source: what waits in its ring stays there."""
        self._words.pop(index, None)
        self._waiting.pop(index, None)

    def remove(self, index: int) -> bool:
        """Forget a source that was retired; False as long as a batch under way has frames of it."""
        if self._pipeline.holds(index) or index in self._spent:
            return False
        self._pipeline.remove(index)
        del self._tables[index], self._writers[index], self._seen[index]
        return True

    def forget(self) -> None:
        """Forget what waited when this was last looked at: another process has taken frames since."""
        self._waiting.clear()
        self._seen = dict.fromkeys(self._tables, -1)

    def drain(self, deadline_s: float) -> bool:
        """Deliver what is in flight within the time given; tells whether all of it was."""
        end = time.monotonic() + deadline_s
        while self._pipeline.in_flight:
            left = end - time.monotonic()
            if left <= 0:
                return False
            if self._pipeline.done(left):
                self._deliver()
                self._release()
        return True

    def _until(self, wake_ns: int | None) -> float:
        """How long to wait at most; None where there is nothing to wait for but a wake-up."""
        longest = _LOOK_S if self._pipeline.in_flight else _LONGEST_WAIT_S
        return longest if wake_ns is None else min(longest, max(0.0, (wake_ns - time.monotonic_ns()) / 1e9))

    def _deliver_done(self) -> bool:
        moved = False
        while self._pipeline.done():
            self._deliver()
            moved = True
        return moved

    def _deliver(self) -> None:
        """Hand over the oldest batch, which is done."""
        wall, cpu = time.monotonic_ns(), time.thread_time_ns()
        delivered = self._pipeline.deliver(release=False)
        assert delivered is not None
        self._results = True
        spent = self._spent
        for source, slots in delivered.held.items():
            spent[source] = spent[source] + slots if source in spent else slots
        elapsed = delivered.elapsed
        self._occupancy.delivered(wall, elapsed.copy_ns)
        self._row.beat()
        self._row.add(_INFER, elapsed.infer_ns, elapsed.cpu_ns)
        if not self._asynchronous:
            self._row.take_off(_SUBMIT, elapsed.infer_ns, elapsed.cpu_ns)
        self._row.add(_DELIVER, time.monotonic_ns() - wall, time.thread_time_ns() - cpu)

    def _release(self) -> None:
        """Tell publish of results, free the slots of their frames, and tell the sources that wait for space."""
        if self._results:
            self._results = False
            self._wake_publish.set()
        while self._spent:
            source, slots = self._spent.popitem()
            table = self._tables[source]
            if slots:
                table.release(slots)
            if not table.live:
                self._writers[source].set()

    def _submit_next(self) -> int | None:
        """Submit a batch if one closes now.

        Returns:
            0 when something was submitted or dropped, else when to look again (nanoseconds), or None.
        """
        if self._pipeline.full:
            # Whatever comes meanwhile is looked at when it can be used.
            return None
        wall, cpu = time.monotonic_ns(), time.thread_time_ns()
        self._refresh()
        output = self._pipeline.output_slot() if self._waiting else None
        if output is None:
            return None
        device = self._occupancy
        cost, free_ns, lead_ns = device.cost.estimate, device.free_ns(), device.lead_ns
        batch, stale, wake_ns = self._decide(time.monotonic_ns(), self._waiting, cost, self._ended, free_ns, lead_ns)
        if stale and not batch and not self._pipeline.in_flight:
            device.cost.doubt()
        picks = self._take(batch, stale)
        closed, begun, cpu = time.monotonic_ns(), cpu, time.thread_time_ns()
        self._row.add(_COLLATE, closed - wall, cpu - begun)
        if not picks:
            return 0 if batch or stale else wake_ns
        if not self._asynchronous:
            cpu = time.process_time_ns()
        device.closed(len(picks), closed)
        self._pipeline.submit(output, picks, closed)
        after = time.thread_time_ns() if self._asynchronous else time.process_time_ns()
        self._row.add(_SUBMIT, time.monotonic_ns() - closed, after - cpu)
        return 0

    def _refresh(self) -> None:
        """Look into the rings where something changed since the last look."""
        seen = self._seen
        for index, words in self._words.items():
            commits = words[COMMITS]
            if commits != seen[index]:
                seen[index] = commits
                frames = self._tables[index].ready()
                if frames:
                    self._waiting[index] = frames
                else:
                    self._waiting.pop(index, None)

    def _take(self, batch: Picks, stale: Picks) -> list[tuple[int, Ready]]:
        for source, frames in _by_source(stale).items():
            if self._tables[source].drop_stale(frames) < len(frames):
                self._seen[source] = -1
            self._forget(source, frames)
        picks: list[tuple[int, Ready]] = []
        place, count = 0, len(batch)
        while place < count:
            pick = batch[place]
            if place + 1 < count and batch[place + 1][0] == pick[0]:
                place = self._take_several(batch, place, picks)
            else:
                self._take_one(pick, picks)
                place += 1
        return picks

    def _take_one(self, pick: tuple[int, Ready], picks: list[tuple[int, Ready]]) -> None:
        """Take the only frame of a source in a batch."""
        source, frame = pick
        spent = self._spent.get(source, _NONE)
        if self._tables[source].take_one(frame, spent):
            picks.append(pick)
        else:
            self._seen[source] = -1
        if spent:
            # Noted as an empty list: its source is still to be told of the space.
            self._spent[source] = []
        waiting = self._waiting
        if len(waiting[source]) == 1:
            del waiting[source]
        else:
            waiting[source] = waiting[source][1:]

    def _take_several(self, batch: Picks, place: int, picks: list[tuple[int, Ready]]) -> int:
        """Take the frames of the source at a place of a batch, which lie side by side; returns the next one's."""
        first, source = place, batch[place][0]
        frames: list[Ready] = []
        while place < len(batch) and batch[place][0] == source:
            frames.append(batch[place][1])
            place += 1
        spent = self._spent.get(source, _NONE)
        taken = self._tables[source].take(frames, spent)
        if spent:
            self._spent[source] = []
        if len(taken) == len(frames):
            picks += batch[first:place]
        else:
            self._seen[source] = -1
            picks += [(source, frame) for frame in taken]
        self._forget(source, frames)
        return place

    def _forget(self, source: int, frames: list[Ready]) -> None:
        waiting = self._waiting[source]
        if len(frames) == len(waiting):
            del self._waiting[source]
            return
        gone = {frame.frame_id for frame in frames}
        self._waiting[source] = [frame for frame in waiting if frame.frame_id not in gone]


def _by_source(picks: Picks) -> dict[int, list[Ready]]:
    grouped: dict[int, list[Ready]] = {}
    for source, frame in picks:
        grouped.setdefault(source, []).append(frame)
    return grouped


class _Ended:
    """The sources from which nothing more comes, by index; looked up only where somebody asks."""

    def __init__(self, words: Mapping[int, memoryview]) -> None:
        self._words = words

    def __contains__(self, source: object) -> bool:
        return source not in self._words or bool(self._words[cast("int", source)][ENDED])
