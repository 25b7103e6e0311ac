# SPDX-License-Identifier: Apache-2.0
"""A pipeline on a virtual clock: rings, loop and device are simulated; policy and cost model are edged's own."""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from edged.records import Ready
from edged.stages.collate.policy import Decision, Pick, SourcePolicy
from edged.stages.infer.cost import Occupancy
from tools.simulate.device import Device
from tools.simulate.feeds import MS, NS, Feed

_ARRIVAL, _DONE, _TIMER = range(3)


class Policy(Protocol):
    """What decides, see `edged.stages.collate.policy.Collator.decide`."""

    def decide(
        self,
        now_ns: int,
        waiting: Mapping[int, Sequence[Ready]],
        cost_ns: Callable[[int], int],
        ended: Container[int] = ...,
        free_ns: int = ...,
        lead_ns: int = ...,
    ) -> Decision:
        """Choose the next batch."""
        ...


class Published(NamedTuple):
    """A frame that was published: when, and how old it was then."""

    at_ns: int
    age_ns: int


@dataclass(slots=True)
class Tally:
    """What became of one source's frames.

    Attributes:
        captured: frames that came.
        overwritten: by newer ones, before they were taken.
        stale: too old, before or after the device had them.
        published: the others, in order.
        passed: batches that closed without it though it had a frame, since it was last served.
        most_passed: the most of that so far.
    """

    captured: int = 0
    overwritten: int = 0
    stale: int = 0
    published: list[Published] = field(default_factory=list)
    passed: int = 0
    most_passed: int = 0


class Batch(NamedTuple):
    """A batch that was closed: when, when it was done, and its frames."""

    closed_ns: int
    done_ns: int
    picks: list[Pick]


def policies_of(feeds: Sequence[Feed]) -> list[SourcePolicy]:
    """How the sources are to be treated."""
    return [
        SourcePolicy(None if feed.max_age_ms is None else int(feed.max_age_ms * MS), feed.priority) for feed in feeds
    ]


class World:
    """One run; `run` makes it.

    Args:
        feeds: the sources.
        device: what computes.
        policy: what decides.
        seed: of everything random: one seed, one course.
        seconds: until nothing more comes; what waits then is finished.
    """

    def __init__(self, feeds: Sequence[Feed], device: Device, policy: Policy, *, seed: int, seconds: float) -> None:
        self.feeds, self.device, self.policy = feeds, device, policy
        self.tallies = [Tally() for _ in feeds]
        self.batches: list[Batch] = []
        self._limits = [each.max_age_ns for each in policies_of(feeds)]
        self._waiting: dict[int, list[Ready]] = {}
        self._held = [0] * len(feeds)
        self._kept_back: dict[int, int] = {}
        self._flights: deque[Batch] = deque()
        self._occupancy = Occupancy(1)
        self._chance = random.Random(f"device {seed}")
        self._free_ns = 0
        self._timer_ns = -1
        self._events: list[tuple[int, int, int]] = []
        end_ns = int(seconds * NS)
        self._arrivals: list[Iterator[int]] = [
            feed.arrivals(f"{seed} {number}", end_ns) for number, feed in enumerate(feeds)
        ]
        self._ended: set[int] = set()

    def run(self) -> World:
        """Run to the end; then every frame is accounted for."""
        for source in range(len(self.feeds)):
            self._expect(source, 0)
        while self._events:
            now, kind, source = heapq.heappop(self._events)
            if kind == _ARRIVAL:
                self._arrive(source, now)
            while self._flights and self._flights[0].done_ns <= now:
                self._deliver(now)
            self._turn(now)
        return self

    # sources ---------------------------------------------------------------------------------------------------------

    def _expect(self, source: int, now: int) -> None:
        at = next(self._arrivals[source], None)
        if at is not None:
            heapq.heappush(self._events, (max(at, now), _ARRIVAL, source))
        elif self.feeds[source].dies_s == float("inf"):
            # One that died says nothing.
            self._ended.add(source)

    def _arrive(self, source: int, now: int) -> None:
        if self._limits[source] is None and self._full(source):
            # A lossless source waits for space, and so do all frames behind this one.
            self._kept_back[source] = now
        else:
            self._commit(source, now, now)

    def _full(self, source: int) -> bool:
        device = self.device
        return self._held[source] + len(self._waiting.get(source, ())) >= (device.slots + 1) * device.max_batch

    def _commit(self, source: int, captured_ns: int, now: int) -> None:
        tally = self.tallies[source]
        frame = Ready(0, tally.captured, captured_ns, now, 1, 1)
        tally.captured += 1
        if self._limits[source] is None:
            self._waiting.setdefault(source, []).append(frame)
        else:
            tally.overwritten += len(self._waiting.get(source, ()))
            self._waiting[source] = [frame]
        self._expect(source, now)

    # the loop --------------------------------------------------------------------------------------------------------

    def _turn(self, now: int) -> None:
        """What `edged.stages.infer.loop.InferLoop` does when it is woken."""
        device = self._occupancy
        while len(self._flights) < self.device.slots and self._waiting:
            batch, stale, wake_ns = self.policy.decide(
                now, self._waiting, device.cost.estimate, self._ended, device.free_ns(), device.lead_ns
            )
            for source, frame in stale:
                self._take(source, frame)
                self.tallies[source].stale += 1
            if stale and not batch and not self._flights:
                device.cost.doubt()
            if batch:
                self._submit(now, batch)
            elif not stale:
                self._sleep_until(wake_ns, now)
                return

    def _sleep_until(self, wake_ns: int | None, now: int) -> None:
        if wake_ns is not None:
            # poll() sleeps whole milliseconds, rounded up.
            at = now + max(1, -(-(wake_ns - now) // MS)) * MS
            if not now < self._timer_ns <= at:
                self._timer_ns = at
                heapq.heappush(self._events, (at, _TIMER, -1))

    def _take(self, source: int, frame: Ready) -> None:
        frames = self._waiting[source]
        frames.remove(frame)
        if not frames:
            del self._waiting[source]

    def _submit(self, now: int, batch: Sequence[Pick]) -> None:
        for source in self._waiting:
            self.tallies[source].passed += 1
        for source, frame in batch:
            self.tallies[source].passed = 0
            self._held[source] += 1
            self._take(source, frame)
        for tally in self.tallies:
            tally.most_passed = max(tally.most_passed, tally.passed)
        begin = max(now + self.device.host_ns, self._free_ns)
        self._free_ns = begin + self.device.takes_ns(len(batch), self._chance)
        self._flights.append(Batch(now, self._free_ns, list(batch)))
        self._occupancy.closed(len(batch), now)
        heapq.heappush(self._events, (self._free_ns, _DONE, -1))

    def _deliver(self, now: int) -> None:
        batch = self._flights.popleft()
        self._occupancy.delivered(now)
        self.batches.append(batch)
        for source, frame in batch.picks:
            self._held[source] -= 1
            tally, limit, age = self.tallies[source], self._limits[source], now - frame.captured_ns
            if limit is not None and age > limit:
                tally.stale += 1
            else:
                tally.published.append(Published(now, age))
            if source in self._kept_back:
                self._commit(source, self._kept_back.pop(source), now)
