# SPDX-License-Identifier: Apache-2.0
"""What the sums say: rates, means, percentiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import NamedTuple

from edged.monitor.ledger.bins import BINS, percentiles
from edged.monitor.ledger.sample import GAUGES
from edged.monitor.ledger.totals import Totals

_PERCENTS = (50, 95, 99)


class LatencyFigures(NamedTuple):
    """Latencies of a stretch of time, milliseconds.

    Attributes:
        frames: of how many.
        mean: exact to the microsecond.
        deviation: standard deviation over all frames, exact as the mean.
        p50: the median, within `edged.monitor.ledger.bins.RELATIVE_ERROR`; so are the others.
        p95: of a hundred frames, the fifth slowest is above it.
        p99: as p95.
    """

    frames: int
    mean: float
    deviation: float
    p50: float
    p95: float
    p99: float


class GaugeFigures(NamedTuple):
    """Readings of one sensor, in the unit that its name ends with.

    Attributes:
        mean: weighted by time.
        low: the lowest.
        high: the highest.
        covered_s: how long it told something, seconds.
    """

    mean: float
    low: float
    high: float
    covered_s: float


class Figures(NamedTuple):
    """What happened in a stretch of time.

    Attributes:
        covered_s: how much of it was seen, seconds; less than its length when the daemon did not run all the time.
        frames: frames that went out.
        rate_hz: frames a second over the time covered; None where that is none.
        latency: None where no frame went out.
        gauges: by name, those that told something.
        energy_per_frame_j: joules of the whole device for each frame; None where it is unknown or no frame went out.
        held_back_s: by cause, for how long it held the device back, seconds.
    """

    covered_s: float
    frames: int
    rate_hz: float | None
    latency: LatencyFigures | None
    gauges: Mapping[str, GaugeFigures]
    energy_per_frame_j: float | None
    held_back_s: Mapping[str, float]


def figures(totals: Totals) -> Figures:
    """Of sums with sparse bins."""
    counts = [0] * BINS
    for index, number in totals.bins.items():
        counts[index] = number
    return figures_of(totals, counts, totals.low, totals.high, totals.causes)


def figures_of(
    totals: Totals, counts: Sequence[int], low: Sequence[int], high: Sequence[int], causes: Mapping[str, int]
) -> Figures:
    """Of sums whose bins, extremes and causes are held elsewhere.

    Args:
        totals: the rest of the sums.
        counts: a whole row of bins.
        low: lowest readings, as in `Totals`.
        high: highest readings.
        causes: microseconds by cause.
    """
    energy_uj, energy_frames = totals.energy
    return Figures(
        covered_s=totals.covered_us / 1e6,
        frames=totals.frames,
        rate_hz=1e6 * totals.frames / totals.covered_us if totals.covered_us else None,
        latency=_latency(totals.latencies, counts),
        gauges={
            name: GaugeFigures(total / time_us / 1000, lowest / 1000, highest / 1000, time_us / 1e6)
            for name, time_us, total, lowest, highest in zip(
                GAUGES, totals.gauge_us, totals.gauge_sum, low, high, strict=True
            )
            if time_us
        },
        energy_per_frame_j=energy_uj / energy_frames / 1e6 if energy_frames else None,
        held_back_s={cause: duration_us / 1e6 for cause, duration_us in causes.items()},
    )


def _latency(sums: tuple[int, int, int], counts: Sequence[int]) -> LatencyFigures | None:
    count, total, squares = sums
    if count == 0:
        return None
    # Var = (n·Σx² − (Σx)²) / n²: of whole numbers, so that nothing cancels that should not.
    variance = max(count * squares - total * total, 0) / (count * count)
    p50, p95, p99 = percentiles(counts, _PERCENTS)
    return LatencyFigures(count, total / count / 1000, sqrt(variance) / 1000, p50, p95, p99)
