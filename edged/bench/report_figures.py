# SPDX-License-Identifier: Apache-2.0
"""The two kinds of figures in a report: single measurements pooled, and one figure a round."""

from __future__ import annotations

import msgspec


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
