# SPDX-License-Identifier: Apache-2.0
"""From measurements to figures: distributions, spreads over rounds, and whether a difference is one."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Literal

import msgspec
import numpy as np

SIGNIFICANT = 0.01
FEWEST_ROUNDS = 8
"""With fewer rounds than that even unanimous ones come by chance more often than once in a hundred."""

Outcome = Literal["higher", "lower", "none", "unknown"]


class Distribution(msgspec.Struct, frozen=True, kw_only=True):
    """Of single measurements, pooled over all rounds, milliseconds."""

    count: int
    min: float
    mean: float
    p50: float
    p90: float
    p99: float
    max: float


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """One figure a round: their median, and the lowest and highest."""

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]


def distribution(values: Sequence[float]) -> Distribution:
    """Of at least one value; percentiles are interpolated linearly."""
    array = np.asarray(values, dtype=np.float64)
    p50, p90, p99 = (float(value) for value in np.percentile(array, (50, 90, 99)))
    return Distribution(
        count=len(array),
        min=float(array.min()),
        mean=float(array.mean()),
        p50=p50,
        p90=p90,
        p99=p99,
        max=float(array.max()),
    )


def spread(values: Sequence[float]) -> Spread:
    """Of at least one round."""
    return Spread(median=median(values), low=min(values), high=max(values), rounds=tuple(values))


def ratios(above: Spread, below: Spread) -> Spread:
    """One figure divided by another, round by round; rounds that only one of them has are left out."""
    return spread([one / other for one, other in zip(above.rounds, below.rounds, strict=False)])


def outcome(ratio: Spread) -> Outcome:
    """Whether a ratio differs from 1 beyond what rounds differ among themselves.

    The two-sided sign test at 1 %: how often would so many rounds fall on one side of 1 if each side were as likely?
    It asks nothing of the rounds' distribution, and one disturbed round does not decide.
    """
    decided = [value for value in ratio.rounds if value != 1.0]
    count = len(decided)
    if len(ratio.rounds) < FEWEST_ROUNDS:
        return "unknown"
    above = sum(value > 1.0 for value in decided)
    fewer = min(above, count - above)
    chance = 2 * sum(comb(count, number) for number in range(fewer + 1)) / 2**count
    if chance > SIGNIFICANT:
        return "none"
    return "higher" if above > count - above else "lower"
