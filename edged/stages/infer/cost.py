# SPDX-License-Identifier: Apache-2.0
"""What a batch costs, learned from the batches that ran, and when the device will be done with those that run."""

from __future__ import annotations

import sys
from bisect import insort
from collections import deque

_WEIGHT = 0.2
_FORGET = 0.5
_LEAD_NS = 1_500_000
"""A timer rings up to a millisecond late; the rest is for looking into the rings and submitting."""
_LEAD_DEVIATIONS = 2.0


class BatchCost:
    """Time that the device takes for a batch, by batch size: an exponential average."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}
        self._sizes: list[int] = []
        self._guesses: dict[int, int] = {}
        self._doubted = False
        self.deviation_ns = 0.0

    def observe(self, count: int, took_ns: int) -> None:
        """Learn from a batch of ``count`` frames that took ``took_ns``."""
        if self._doubted:
            self._known.clear()
            self._sizes, self._doubted, self.deviation_ns = [], False, 0.0
        before = self._known.get(count)
        if before is None:
            self._known[count] = took_ns
            self._sizes = sorted(self._known)
        else:
            off = took_ns - before
            self._known[count] = before + _WEIGHT * off
            self.deviation_ns += _WEIGHT * (abs(off) - self.deviation_ns)
        self._guesses.clear()

    def doubt(self) -> None:
        """Trust what is known half as much: it left nothing to run, and only a batch that runs can correct it.

        Without this one batch that hung (a suspended machine, a stopped process) would make every later frame look too
        late for ever. What the next batch takes replaces all that was known.
        """
        for count in self._known:
            self._known[count] *= _FORGET
        self._guesses.clear()
        self._doubted = True

    def estimate(self, count: int) -> int:
        """Expected nanoseconds for ``count`` frames; 0 while nothing is known.

        A size that never ran lies on the line between its neighbours; below all that ran it costs as the smallest
        of them did, above them it is scaled up.
        """
        exact = self._known.get(count)
        if exact is not None:
            return int(exact)
        guess = self._guesses.get(count)
        if guess is None:
            guess = self._guesses[count] = int(self._guess(count))
        return guess

    def _guess(self, count: int) -> float:
        known, sizes = self._known, self._sizes
        if not sizes:
            return 0.0
        if count < sizes[0]:
            return known[sizes[0]]
        if count > sizes[-1]:
            return known[sizes[-1]] * count / sizes[-1]
        above = next(size for size in sizes if size > count)
        below = max(size for size in sizes if size < count)
        return known[below] + (known[above] - known[below]) * (count - below) / (above - below)


class Occupancy:
    """What the device has to do and until when, as far as batches of the past tell.

    Args:
        lanes: batches that it computes side by side; those submitted beyond that wait for one of them. None for all.
    """

    def __init__(self, lanes: int | None = None) -> None:
        self.cost = BatchCost()
        self._lanes = sys.maxsize if lanes is None else lanes
        self._flights: deque[list[int]] = deque()  # frames, and when it began (-1: not yet)
        self._copy_ns = 0.0

    def closed(self, count: int, now_ns: int) -> None:
        """Note that a batch was submitted."""
        self._flights.append([count, now_ns if len(self._flights) < self._lanes else -1])

    def delivered(self, now_ns: int, copy_ns: int = 0) -> None:
        """Note that the oldest batch is done.

        Args:
            now_ns: CLOCK_MONOTONIC.
            copy_ns: what copying it in took, which may overlap with the batch before it.
        """
        count, begun_ns = self._flights.popleft()
        self.cost.observe(count, now_ns - begun_ns)
        self._copy_ns += _WEIGHT * (copy_ns - self._copy_ns)
        for flight in self._flights:
            if flight[1] < 0:
                flight[1] = now_ns
                break

    def free_ns(self) -> int:
        """When a batch that is submitted now will begin, if all goes on as before; 0 where at once."""
        if len(self._flights) < self._lanes:
            return 0
        lanes: list[int] = []
        for count, begun_ns in self._flights:
            begin_ns = lanes.pop(0) if begun_ns < 0 else begun_ns
            insort(lanes, begin_ns + self.cost.estimate(count))
        return lanes[0]

    @property
    def lead_ns(self) -> int:
        """How long before the device is free a batch has to close, so that the device does not wait for it."""
        return int(_LEAD_NS + self._copy_ns + _LEAD_DEVIATIONS * self.cost.deviation_ns)
