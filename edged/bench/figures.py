# SPDX-License-Identifier: Apache-2.0
"""The figures of the report: of a way's turns, and where throughput saturates."""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Literal

from edged.bench.report import LevelName, Measurement, Saturation
from edged.rig.figures import distribution, spread
from edged.rig.rounds import Turn

SATURATED = 0.95


def measurement(level: LevelName, batch: int, slots: int, profile: int | None, turns: list[Turn]) -> Measurement:
    """The figures of a way's turns, of which there is at least one."""
    stages: dict[str, list[float]] = {}
    for turn in turns:
        for stage, values in turn.stages_ms.items():
            stages.setdefault(stage, []).extend(values)
    return Measurement(
        level=level,
        batch=batch,
        slots=slots,
        profile=profile,
        frames_per_s=spread([batch * turn.batches / turn.seconds for turn in turns]),
        latency_ms=distribution([value for turn in turns for value in turn.latencies_ms]),
        stages_ms={stage: median(values) for stage, values in stages.items()},
        batches=sum(turn.batches for turn in turns),
    )


def saturation(level: Literal["engine", "pipeline"], rates: Mapping[int, float]) -> Saturation | None:
    """The smallest batch with at least 95 % of the best rate; None with fewer than two sizes.

    Args:
        level: where the rates come from.
        rates: frames a second by batch size.
    """
    if len(rates) < 2:
        return None
    best = max(rates, key=lambda size: rates[size])
    batch = min(size for size, rate in rates.items() if rate >= SATURATED * rates[best])
    return Saturation(
        level=level, batch=batch, frames_per_s=rates[batch], best_batch=best, best_frames_per_s=rates[best]
    )
