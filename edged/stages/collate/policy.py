# SPDX-License-Identifier: Apache-2.0
"""Which frames make the next batch, and when it closes. Pure policy: no clock, no I/O.

A batch closes as soon as one of these holds:

- it is full;
- its oldest frame has waited ``max_delay`` for company;
- every source that is delivering has contributed: waiting longer would gain nothing.

A source that has gone quiet is not waited for. Frames of live sources that could not be published within their age
limit are dropped before they cost anything. Sources are served by priority, then least recently served first; one
that has waited a second goes before all others, so that none starves.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from edged.records import Ready

STARVING_NS = 1_000_000_000
_QUIET_INTERVALS = 2
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


@dataclass(slots=True)
class _Rhythm:
    """When a source delivers."""

    last_ready_ns: int = -1
    interval_ns: float = 0.0
    served: int = 0
    waiting_since_ns: int | None = None

    def observe(self, ready_ns: int) -> None:
        if ready_ns <= self.last_ready_ns:
            return
        if self.last_ready_ns >= 0:
            gap = ready_ns - self.last_ready_ns
            self.interval_ns = gap if not self.interval_ns else self.interval_ns + (gap - self.interval_ns) / 8
        self.last_ready_ns = ready_ns

    def delivering(self, now_ns: int, slack_ns: int) -> bool:
        return self.last_ready_ns >= 0 and now_ns - self.last_ready_ns <= _QUIET_INTERVALS * self.interval_ns + slack_ns


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
    _rhythms: list[_Rhythm] = field(init=False)
    _turn: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._rhythms = [_Rhythm() for _ in self.sources]

    def decide(
        self,
        now_ns: int,
        waiting: Mapping[int, Sequence[Ready]],
        cost_ns: Callable[[int], int],
        ended: frozenset[int] = frozenset(),
    ) -> Decision:
        """Choose the next batch.

        Args:
            now_ns: CLOCK_MONOTONIC.
            waiting: frames that wait, oldest first, by source.
            cost_ns: measured time from closing a batch of n frames to its results.
            ended: sources from which nothing more will come.
        """
        if 0 < len(waiting) <= self.max_batch:
            decision = self._one_of_each(now_ns, waiting, cost_ns(len(waiting)), ended)
            if decision is not None:
                return decision
        self._observe(now_ns, waiting)
        total = min(self.max_batch, sum(len(frames) for frames in waiting.values()))
        fresh, stale = self._split(now_ns, waiting, cost_ns(total) if total else 0)
        if not fresh:
            return Decision([], stale, None)
        batch = self._select(now_ns, fresh)
        due_ns = min(pick.frame.ready_ns for pick in batch) + self.max_delay_ns
        if len(batch) >= self.max_batch or now_ns >= due_ns or self._complete(now_ns, batch, ended):
            self._note_served(batch)
            return Decision(batch, stale, None)
        return Decision([], stale, due_ns)

    def _one_of_each(
        self, now_ns: int, waiting: Mapping[int, Sequence[Ready]], cost_ns: int, ended: frozenset[int]
    ) -> Decision | None:
        """What the general way decides, in a quarter of its time, where each source that waits has one frame and all
        can go together; None where that is not so (what was observed until then is observed again, to no effect)."""
        if not self._can_go_together(now_ns, waiting, cost_ns):
            return None
        rhythms, policies, oldest_ns = self._rhythms, self.sources, now_ns
        ranked: list[tuple[int, int, int, Pick]] = []
        for place, (source, (frame,)) in enumerate(waiting.items()):
            rhythm, ready_ns = rhythms[source], frame[3]
            if ready_ns < oldest_ns or not place:
                oldest_ns = ready_ns
            if ready_ns > rhythm.last_ready_ns:
                rhythm.observe(ready_ns)
            since = rhythm.waiting_since_ns
            if since is None:
                rhythm.waiting_since_ns = now_ns
            elif now_ns - since >= STARVING_NS:
                return None
            ranked.append((-policies[source].priority, rhythm.served, place, _make(Pick, (source, frame))))
        due_ns = oldest_ns + self.max_delay_ns
        alone = self._nobody_else(now_ns, waiting, ended)
        if not (alone or now_ns >= due_ns or len(ranked) >= self.max_batch):
            return Decision([], [], due_ns)
        ranked.sort()
        for _, _, _, pick in ranked:
            self._turn += 1
            rhythm = rhythms[pick[0]]
            rhythm.served, rhythm.waiting_since_ns = self._turn, None
        return Decision([each[3] for each in ranked], [], None)

    def _can_go_together(self, now_ns: int, waiting: Mapping[int, Sequence[Ready]], cost_ns: int) -> bool:
        """Whether each source that waits has one frame, all in time and of one shape."""
        policies, shape = self.sources, None
        for source, frames in waiting.items():
            if len(frames) != 1:
                return False
            _, _, captured_ns, _, height, width = frames[0]
            limit = policies[source].max_age_ns
            if limit is not None and now_ns - captured_ns + cost_ns > limit:
                return False
            if shape is None:
                shape = height, width
            elif shape != (height, width):
                return False
        return True

    def _nobody_else(self, now_ns: int, waiting: Mapping[int, Sequence[Ready]], ended: frozenset[int]) -> bool:
        """Whether no source that is delivering has nothing waiting; notes that the others do not wait."""
        rhythms = self._rhythms
        if len(waiting) == len(rhythms):
            return True
        alone = True
        for source, rhythm in enumerate(rhythms):
            if source not in waiting:
                rhythm.waiting_since_ns = None
                if alone and source not in ended and rhythm.delivering(now_ns, self.max_delay_ns):
                    alone = False
        return alone

    def _observe(self, now_ns: int, waiting: Mapping[int, Sequence[Ready]]) -> None:
        for source, rhythm in enumerate(self._rhythms):
            frames = waiting.get(source)
            if not frames:
                rhythm.waiting_since_ns = None
                continue
            for frame in frames:
                rhythm.observe(frame.ready_ns)
            if rhythm.waiting_since_ns is None:
                rhythm.waiting_since_ns = now_ns

    def _split(
        self, now_ns: int, waiting: Mapping[int, Sequence[Ready]], cost_ns: int
    ) -> tuple[dict[int, list[Ready]], list[Pick]]:
        fresh: dict[int, list[Ready]] = {}
        stale: list[Pick] = []
        for source, frames in waiting.items():
            limit = self.sources[source].max_age_ns
            for frame in frames:
                if limit is not None and now_ns - frame.captured_ns + cost_ns > limit:
                    stale.append(Pick(source, frame))
                else:
                    fresh.setdefault(source, []).append(frame)
        return fresh, stale

    def _rank(self, now_ns: int, source: int) -> tuple[int, int, int]:
        rhythm = self._rhythms[source]
        since = rhythm.waiting_since_ns
        starving = since is not None and now_ns - since >= STARVING_NS
        return (0 if starving else 1, 0 if starving else -self.sources[source].priority, rhythm.served)

    def _select(self, now_ns: int, fresh: Mapping[int, Sequence[Ready]]) -> list[Pick]:
        order = sorted(fresh, key=lambda source: self._rank(now_ns, source))
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

    def _complete(self, now_ns: int, batch: Sequence[Pick], ended: frozenset[int]) -> bool:
        contributed = {pick.source for pick in batch}
        return all(
            source in contributed or source in ended or not rhythm.delivering(now_ns, self.max_delay_ns)
            for source, rhythm in enumerate(self._rhythms)
        )

    def _note_served(self, batch: Sequence[Pick]) -> None:
        # One turn a source, in the order of the batch: sources that shared a batch must not tie, or the same one would
        # win every time.
        for source in dict.fromkeys(pick.source for pick in batch):
            self._turn += 1
            self._rhythms[source].served = self._turn
            self._rhythms[source].waiting_since_ns = None


def _count_alike(frames: Sequence[Ready], shape: tuple[int, int]) -> int:
    """How many frames from the first on have a shape."""
    for count, frame in enumerate(frames):
        if frame.shape != shape:
            return count
    return len(frames)
