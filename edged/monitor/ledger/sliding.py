# SPDX-License-Identifier: Apache-2.0
"""Sums over the last 1, 10 or 60 minutes, at the same small cost however long the window is."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from edged.monitor.ledger.bins import BINS
from edged.monitor.ledger.figures import Figures, figures_of
from edged.monitor.ledger.totals import Totals

_NOTHING = Totals()
_Extremes = tuple[list[int], list[int]]
"""Lowest and highest readings, as in `Totals`."""


class Slot(NamedTuple):
    """A stretch of time that is over.

    Attributes:
        start_us: microseconds of the monotonic clock.
        end_us: after ``start_us``.
        totals: what happened in it; not changed any more.
    """

    start_us: int
    end_us: int
    totals: Totals


class Sliding:
    """The slots of the last so many seconds, and their sum.

    A slot is inside as long as its end is; so that the window is longer than its width by less than one slot. Sums go
    in with `add` at once; the slot that they belong to follows with `keep` when it is over, and takes them away again
    when it has left the window. Extremes cannot be subtracted. They are kept as a queue of two stacks does it: for each
    of the older slots the extremes from it to the last of the older ones, and one pair for all newer ones; when the
    older ones are used up, the newer ones become the older ones.

    Args:
        width_s: of the window, seconds.
    """

    def __init__(self, width_s: int) -> None:
        self._width_us = width_s * 1_000_000
        self._slots: deque[Slot] = deque()
        self._sum = Totals()
        self._counts = [0] * BINS
        self._older: list[_Extremes] = []
        self._newer: _Extremes = (_NOTHING.low, _NOTHING.high)

    def add(self, totals: Totals) -> None:
        """Add what happened in a part of the slot that is not over."""
        self._change(totals, 1)

    def keep(self, slot: Slot) -> None:
        """Take note of a slot that is over, whose sums have been added."""
        self._slots.append(slot)
        self._newer = _wider(self._newer, (slot.totals.low, slot.totals.high))

    def expire(self, now_us: int) -> None:
        """Forget the slots that have left the window."""
        slots, edge = self._slots, now_us - self._width_us
        while slots and slots[0].end_us <= edge:
            if not self._older:
                self._turn()
            self._older.pop()
            self._change(slots.popleft().totals, -1)

    @property
    def rate(self) -> tuple[int, int]:
        """Frames, and the microseconds that they took."""
        return self._sum.frames, self._sum.covered_us

    def figures(self, running: Totals) -> Figures:
        """What happened in the window.

        Args:
            running: what was added of the slot that is not over.
        """
        low, high = _wider(self._newer, (running.low, running.high))
        if self._older:
            low, high = _wider((low, high), self._older[-1])
        return figures_of(self._sum, self._counts, low, high, self._sum.causes)

    def _change(self, totals: Totals, sign: int) -> None:
        mine, counts = self._sum, self._counts
        for index, number in totals.bins.items():
            counts[index] += sign * number
        mine.covered_us += sign * totals.covered_us
        mine.frames += sign * totals.frames
        mine.latencies = _shifted(mine.latencies, totals.latencies, sign)
        mine.energy = (mine.energy[0] + sign * totals.energy[0], mine.energy[1] + sign * totals.energy[1])
        for cell, time_us in enumerate(totals.gauge_us):
            if time_us:
                mine.gauge_us[cell] += sign * time_us
                mine.gauge_sum[cell] += sign * totals.gauge_sum[cell]
        for cause, time_us in totals.causes.items():
            mine.causes[cause] = mine.causes.get(cause, 0) + sign * time_us
            if not mine.causes[cause]:
                del mine.causes[cause]

    def _turn(self) -> None:
        """Make the newer slots the older ones: the last to leave lies at the bottom."""
        extremes: _Extremes = (_NOTHING.low, _NOTHING.high)
        for slot in reversed(self._slots):
            extremes = _wider(extremes, (slot.totals.low, slot.totals.high))
            self._older.append(extremes)
        self._newer = (_NOTHING.low, _NOTHING.high)


def _wider(one: _Extremes, other: _Extremes) -> _Extremes:
    return list(map(min, one[0], other[0])), list(map(max, one[1], other[1]))


def _shifted(one: Sequence[int], other: Sequence[int], sign: int) -> tuple[int, int, int]:
    return (one[0] + sign * other[0], one[1] + sign * other[1], one[2] + sign * other[2])
