# SPDX-License-Identifier: Apache-2.0
"""How fast it gets warmer, from readings that are coarse and now and then wrong."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

WINDOW_S = 40.0
CLOSEST_S = 0.9
FEWEST = 6
SHORTEST_S = 8.0


class Warmth(NamedTuple):
    """A temperature at a moment: seconds of the monotonic clock, degrees Celsius."""

    at_s: float
    temperature_c: float


def extended(points: tuple[Warmth, ...], point: Warmth) -> tuple[Warmth, ...]:
    """The last 40 s of readings with one more; between those kept lie at least 0.9 s, but for the last.

    At most 47 points, whatever the interval of the readings.
    """
    recent = tuple(old for old in points if old.at_s > point.at_s - WINDOW_S)
    if len(recent) > 1 and recent[-1].at_s - recent[-2].at_s < CLOSEST_S:
        recent = recent[:-1]
    return (*recent, point)


def slope(points: Sequence[Warmth]) -> float | None:
    """Kelvin a second; None with fewer than 6 readings or less than 8 s of them.

    Theil's incomplete method: the median of the slopes between each reading of the first half and its counterpart in
    the second half. All pairs are half a window apart, so that steps of a whole degree do not show as bursts, and a
    quarter of the readings may be wrong. The higher the last reading, the higher the slope, or it stays.
    """
    if len(points) < FEWEST or points[-1].at_s - points[0].at_s < SHORTEST_S:
        return None
    half = len(points) // 2
    pairs = zip(points[:half], points[-half:], strict=True)
    return median((late.temperature_c - early.temperature_c) / (late.at_s - early.at_s) for early, late in pairs)
