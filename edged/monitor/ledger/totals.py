# SPDX-License-Identifier: Apache-2.0
"""Sums over a stretch of time, all of them whole numbers: adding and subtracting them never loses anything.

Whole numbers make the order of merging immaterial, and let a window slide for a year without drift.
"""

from __future__ import annotations

from math import isfinite

from edged.monitor.ledger.sample import GAUGES, Sample

HIGHEST = 1 << 62
"""Extreme of a gauge that told nothing: above, or with a minus below, all that one could tell."""
MOST_CAUSES = 16
OTHER_CAUSES = "other"
_LONGEST_CAUSE = 32
_CELLS = range(len(GAUGES))


class Totals:
    """What happened in one stretch of time.

    Attributes:
        covered_us: how much of it was seen, microseconds.
        frames: frames that went out.
        latencies: how many latencies were counted; their sum in microseconds; the sum of their squares.
        bins: the latencies by bin; bins with none are absent.
        gauge_us: for each of `GAUGES`, how long it told something, microseconds.
        gauge_sum: for each, the sum of reading times duration, thousandths of its unit times microseconds.
        low: for each, the lowest reading, thousandths of its unit; `HIGHEST` where it told nothing.
        high: for each, the highest reading; −`HIGHEST` where it told nothing.
        energy: microjoules, and the frames of the time in which they are known.
        causes: by cause, for how long, microseconds; at most `MOST_CAUSES` names and `OTHER_CAUSES`.
    """

    __slots__ = (
        "bins",
        "causes",
        "covered_us",
        "energy",
        "frames",
        "gauge_sum",
        "gauge_us",
        "high",
        "latencies",
        "low",
    )

    def __init__(self) -> None:
        self.covered_us = 0
        self.frames = 0
        self.latencies = (0, 0, 0)
        self.bins: dict[int, int] = {}
        self.gauge_us = [0] * len(GAUGES)
        self.gauge_sum = [0] * len(GAUGES)
        self.low = [HIGHEST] * len(GAUGES)
        self.high = [-HIGHEST] * len(GAUGES)
        self.energy = (0, 0)
        self.causes: dict[str, int] = {}

    @classmethod
    def of(cls, sample: Sample) -> Totals:
        """Of one reading. A number that is not finite is taken as absent."""
        totals = cls()
        totals.covered_us = covered = max(1, round(1e6 * sample.covers_s))
        totals.frames = sample.frames
        count, total, squares, bins = sample.latency
        totals.latencies = (count, total, squares)
        totals.bins = {index: number for index, number in bins.items() if number}
        for cell, name in enumerate(GAUGES):
            value = sample.gauges.get(name)
            if value is not None and isfinite(value):
                milli = round(1000 * value)
                totals.gauge_us[cell] = covered
                totals.gauge_sum[cell] = milli * covered
                totals.low[cell] = totals.high[cell] = milli
        totals.energy = _energy(sample)
        totals.causes = {cause[:_LONGEST_CAUSE]: covered for cause in sample.causes}
        return totals

    def add(self, other: Totals) -> None:
        """Take in what happened in another stretch."""
        self.covered_us += other.covered_us
        self.frames += other.frames
        self.latencies = _plus(self.latencies, other.latencies)
        bins, sums, times = self.bins, self.gauge_sum, self.gauge_us
        for index, number in other.bins.items():
            bins[index] = bins.get(index, 0) + number
        for cell in _CELLS:
            if other.gauge_us[cell]:
                times[cell] += other.gauge_us[cell]
                sums[cell] += other.gauge_sum[cell]
                self.low[cell] = min(self.low[cell], other.low[cell])
                self.high[cell] = max(self.high[cell], other.high[cell])
        self.energy = (self.energy[0] + other.energy[0], self.energy[1] + other.energy[1])
        if other.causes:
            add_causes(self.causes, other.causes)


def add_causes(causes: dict[str, int], more: dict[str, int]) -> None:
    """Add up how long each cause held; names beyond the bound count as one."""
    for cause, duration_us in more.items():
        name = cause if cause in causes or len(causes) < MOST_CAUSES else OTHER_CAUSES
        causes[name] = causes.get(name, 0) + duration_us


def _plus(one: tuple[int, int, int], other: tuple[int, int, int]) -> tuple[int, int, int]:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])


def _energy(sample: Sample) -> tuple[int, int]:
    joules = sample.energy_j
    if joules is None:
        power = sample.gauges.get("power_w")
        joules = power * sample.covers_s if power is not None else None
    if joules is None or not isfinite(joules):
        return (0, 0)
    return (round(1e6 * joules), sample.frames)
