# SPDX-License-Identifier: Apache-2.0
"""Which frames make the next batch, and when it closes. Pure policy: no clock, no I/O.

A batch does not close before the device is nearly free: until then its frames wait in their rings, where more of them
come together and newer ones take the place of older ones, at no cost. (One that is full and could not get any fresher
closes at once.) Then it closes, unless a frame of another source is expected so soon that waiting for it saves more
than it costs, by the measured cost of batches; never beyond ``max_delay``, nor so long that a frame would be too old.
A source that paused, died or ended is not waited for.

Frames of live sources that could not be published within their age limit are dropped before they cost anything. Where
not all that waits can go together, sources are served by priority; of one priority first the frames that could not
wait for the batch after this one, earliest deadline first; then those left over from the last batch, if there are few;
then whoever was served longest ago. A source that was passed over `Collator.patience` times goes before all others, so
that none starves.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edged.records import Ready
from edged.stages.collate.company import worth_waiting_ns
from edged.stages.collate.rhythm import Rhythm

_PATIENT_TURNS = 8
_FEW = 2
"""Where all that waits fits into so many batches, those left over from the last one go first, so that nobody waits
twice. Where more waits, that would be a queue, in which frames of slow sources grow old while those of fast ones are
replaced by newer ones: then whoever was served longest ago goes first, which are the slow ones."""
_make = tuple.__new__
"""Makes a named tuple from values in order, in half the time that calling it takes."""


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """How one source is to be treated.

    Attributes:
        max_age_ns: age at publish beyond which a frame is worthless; None for lossless sources.
        priority: higher goes first when the device cannot keep up.
    """

    max_age_ns: int | None = None
    priority: int = 0


class Pick(NamedTuple):
    """One frame of one source."""

    source: int
    frame: Ready


class Decision(NamedTuple):
    """What to do now.

    Attributes:
        batch: the frames of a batch that closes now; empty when none does.
        stale: frames to drop.
        wake_ns: when to ask again even if nothing new arrives; None when only a new frame can change anything.
    """

    batch: list[Pick]
    stale: list[Pick]
    wake_ns: int | None


Waiting = Mapping[int, Sequence[Ready]]


@dataclass(slots=True)
class Collator:
    """The batching policy with the little it remembers.

    Args:
        sources: one policy a source, by index.
        max_batch: frames of a batch at the most.
        max_delay_ns: longest that a frame waits for company.
    """

    sources: Sequence[SourcePolicy]
    max_batch: int
    max_delay_ns: int
    _limits: list[int | None] = field(init=False)
    _rhythms: list[Rhythm] = field(init=False)
    _served: list[int] = field(init=False)
    _passed: list[int] = field(init=False)
    _turn: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        count = len(self.sources)
        self._limits = [policy.max_age_ns for policy in self.sources]
        self._rhythms = [Rhythm() for _ in self.sources]
        self._served, self._passed = [0] * count, [0] * count

    @property
    def patience(self) -> int:
        """Batches after which a source that waits goes before all others, whatever their priority.

        It grows with the sources for each place in a batch, so that those that are overdue take an eighth of all places
        at most. While it has a frame that is not too old, a source is passed over ``patience + sources - 1`` times at
        most: once overdue, it stands behind those that were passed over more often only, and each of them goes first
        once, for at least the first in rank is in each batch.
        """
        return _PATIENT_TURNS * -(-len(self.sources) // self.max_batch)

    def decide(
        self,
        now_ns: int,
        waiting: Waiting,
        cost_ns: Callable[[int], int],
        ended: Container[int] = (),
        free_ns: int = 0,
        lead_ns: int = 0,
    ) -> Decision:
        """Choose the next batch.

        Args:
            now_ns: CLOCK_MONOTONIC.
            waiting: frames that wait, oldest first, by source.
            cost_ns: measured time from the device's beginning with a batch of n frames to its results.
            ended: sources from which nothing more will come.
            free_ns: when the device is expected to be done with what it has; in the past where it is idle.
            lead_ns: how long before that a batch has to close in order to follow without a pause.
        """
        if not waiting:
            return Decision([], [], None)
        if now_ns < free_ns - lead_ns and not self._settled(waiting):
            return Decision([], [], free_ns - lead_ns)
        begin_ns = max(now_ns, free_ns)
        each = self._one_of_each(begin_ns, waiting, cost_ns)
        batch, stale = (each, []) if each else self._choose(begin_ns, waiting, cost_ns)
        if not batch:
            return Decision([], stale, None)
        if len(batch) < self.max_batch and self.max_delay_ns and (each or _nothing_left(waiting, batch, stale)):
            until_ns = self._company_until(now_ns, batch, waiting, cost_ns, ended)
            if until_ns > now_ns:
                return Decision([], stale, until_ns)
        self._note(batch, () if each else waiting)
        return Decision(batch, stale, None)

    def _settled(self, waiting: Waiting) -> bool:
        """Whether a batch is full and cannot get any fresher, for all that waits is of lossless sources."""
        limits, count = self._limits, 0
        for source, frames in waiting.items():
            if limits[source] is not None:
                return False
            count += len(frames)
        return count >= self.max_batch

    def _one_of_each(self, begin_ns: int, waiting: Waiting, cost_ns: Callable[[int], int]) -> list[Pick] | None:
        """A frame of each source where that is what the general way would choose: all are in time and of one shape, and
        there are as many as go together or no more wait; else None. The usual case, in a fraction of the time."""
        count = len(waiting)
        if count > self.max_batch:
            return None
        full, latest_ns = count == self.max_batch, begin_ns + cost_ns(count)
        limits, rhythms = self._limits, self._rhythms
        picks: list[Pick] = []
        rows = columns = 0
        for source, frames in waiting.items():
            last = frame = frames[0]
            if len(frames) != 1:
                if not full:
                    return None
                last = frames[-1]
            _, _, captured_ns, _, height, width = frame
            limit, rhythm = limits[source], rhythms[source]
            if limit is not None and latest_ns - captured_ns > limit:
                return None
            if height != rows or width != columns:
                if picks:
                    return None
                rows, columns = height, width
            if last[1] != rhythm.last_id:
                rhythm.observe(last[1], last[3])
            picks.append(_make(Pick, (source, frame)))
        return picks

    def _choose(self, begin_ns: int, waiting: Waiting, cost_ns: Callable[[int], int]) -> tuple[list[Pick], list[Pick]]:
        """The batch in general, and what is too old for it."""
        total = min(self.max_batch, sum(map(len, waiting.values())))
        took_ns = cost_ns(total)
        latest_ns = begin_ns + took_ns
        fresh: dict[int, list[Ready]] = {}
        stale: list[Pick] = []
        for source, frames in waiting.items():
            limit = self._limits[source]
            for frame in frames:
                if limit is not None and latest_ns - frame.captured_ns > limit:
                    stale.append(Pick(source, frame))
                else:
                    fresh.setdefault(source, []).append(frame)
            last = frames[-1]
            self._rhythms[source].observe(last.frame_id, last.ready_ns)
        return (self._select(fresh, begin_ns, took_ns) if fresh else []), stale

    def _order(self, fresh: Mapping[int, Sequence[Ready]], begin_ns: int, took_ns: int) -> list[int]:
        """The sources, those first that are to be served first."""
        next_begin_ns, patience, crowded = begin_ns + took_ns, self.patience, len(fresh) > _FEW * self.max_batch

        def rank(source: int) -> tuple[int, int, int, int, int]:
            passed, limit, priority = self._passed[source], self._limits[source], self.sources[source].priority
            if passed >= patience:
                return 0, -passed, 0, 0, 0
            deadline_ns = 0 if limit is None else fresh[source][0].captured_ns + limit
            too_old_next = limit is not None and deadline_ns < next_begin_ns + took_ns
            # That is no loss where a newer frame is expected until then.
            if too_old_next and not begin_ns < self._rhythms[source].next_ns() < next_begin_ns:
                return 1, -priority, 0, deadline_ns, 0
            return 1, -priority, 1, 0 if crowded else -passed, self._served[source]

        return sorted(fresh, key=rank)

    def _select(self, fresh: Mapping[int, Sequence[Ready]], begin_ns: int, took_ns: int) -> list[Pick]:
        order = self._order(fresh, begin_ns, took_ns)
        shape = fresh[order[0]][0].shape
        # Up to the first frame of another shape only: a source's frames leave in order, or publish would take the one
        # that was passed over for one that is settled already.
        alike = [_count_alike(fresh[source], shape) for source in order]
        # One of each source, then another one of each, and so on, until the batch is full.
        counts, left = [0] * len(order), min(self.max_batch, sum(alike))
        while left:
            for place, available in enumerate(alike):
                if left and counts[place] < available:
                    counts[place] += 1
                    left -= 1
        # Frames of one source side by side and oldest first: they lie contiguous in its ring and leave in order.
        return [
            Pick(source, frame) for source, count in zip(order, counts, strict=True) for frame in fresh[source][:count]
        ]

    def _company_until(
        self,
        now_ns: int,
        batch: Sequence[Pick],
        waiting: Waiting,
        cost_ns: Callable[[int], int],
        ended: Container[int],
    ) -> int:
        """Until when to wait for frames of sources that have none; not after now where it does not pay."""
        expected = [
            next_ns - now_ns
            for source, rhythm in enumerate(self._rhythms)
            if source not in waiting and (next_ns := rhythm.next_ns()) > now_ns and source not in ended
        ]
        if not expected:
            return now_ns
        expected.sort()
        have = len(batch)
        room = self.max_batch - have
        wait_ns = worth_waiting_ns(have, room, expected, cost_ns)
        if not wait_ns:
            return now_ns
        cost, limits = cost_ns(min(have + len(expected), self.max_batch)), self._limits
        until_ns = now_ns + int(wait_ns)
        for source, frame in batch:
            until_ns = min(until_ns, frame.ready_ns + self.max_delay_ns)
            limit = limits[source]
            if limit is not None:
                until_ns = min(until_ns, frame.captured_ns + limit - cost)
        return until_ns

    def _note(self, batch: Sequence[Pick], waiting: Iterable[int]) -> None:
        """Note who was served; the others of those that wait were passed over."""
        served, passed = self._served, self._passed
        for source in waiting:
            passed[source] += 1
        turn = self._turn
        # One turn a source, in the order of rank: sources that shared a batch must not tie, or the same one would win
        # every time.
        for source, _ in batch:
            turn += 1
            served[source], passed[source] = turn, 0
        self._turn = turn


def _count_alike(frames: Sequence[Ready], shape: tuple[int, int]) -> int:
    """How many frames from the first on have a shape."""
    for count, frame in enumerate(frames):
        if frame.shape != shape:
            return count
    return len(frames)


def _nothing_left(waiting: Waiting, batch: Sequence[Pick], stale: Sequence[Pick]) -> bool:
    """Whether no frame waits that could not go with the others."""
    return len(batch) + len(stale) == sum(map(len, waiting.values()))
