# SPDX-License-Identifier: Apache-2.0
"""Where the time of a frame goes, from the daemon's own statistics (``v1/stats/``)."""

from __future__ import annotations

from typing import NamedTuple

from edged.messages import Stats
from edged.shm.board import CAPTURE_STAGES, INFER_STAGES, PUBLISH_STAGES
from tools.bench.report import Report

STAGES = (*CAPTURE_STAGES, *INFER_STAGES, *PUBLISH_STAGES)


class Cost(NamedTuple):
    """Time per frame, microseconds: elapsed, and CPU time of all threads of the process."""

    wall_us: float
    cpu_us: float


def frames_between(before: Stats, after: Stats) -> int:
    """Frames that came out of postprocess between two statistics."""
    first, last = (stats.processes["publish"].stages["postprocess"].count for stats in (before, after))
    return last - first


def wall_of(before: Stats, after: Stats, stage: str) -> float:
    """Elapsed time that a stage took between two statistics, in all processes that have it, seconds."""
    return _sum(after, stage, "wall_s") - _sum(before, stage, "wall_s")


def cpu_of(before: Stats, after: Stats, stage: str) -> float:
    """CPU time that a stage took between two statistics, in all processes that have it, seconds."""
    return _sum(after, stage, "cpu_s") - _sum(before, stage, "cpu_s")


def _sum(stats: Stats, stage: str, field: str) -> float:
    stages = [process.stages[stage] for process in stats.processes.values() if stage in process.stages]
    return float(sum(getattr(times, field) for times in stages))


def stage_costs(before: Stats, after: Stats) -> dict[str, Cost]:
    """Cost per frame of each stage between two statistics; all captures together."""
    frames = max(1, frames_between(before, after))
    return {
        stage: Cost(wall_of(before, after, stage) / frames * 1e6, cpu_of(before, after, stage) / frames * 1e6)
        for stage in STAGES
    }


def report_costs(report: Report, costs: dict[str, Cost]) -> None:
    """Add the costs to a report, and the sum of all that is neither decode nor inference."""
    for stage, cost in costs.items():
        report.add(f"{stage}: wall", cost.wall_us, "µs/frame")
        report.add(f"{stage}: CPU", cost.cpu_us, "µs/frame")
    rest = [cost for stage, cost in costs.items() if stage not in ("decode", "infer")]
    report.add("outside decode and inference: wall", sum(cost.wall_us for cost in rest), "µs/frame")
    report.add("outside decode and inference: CPU", sum(cost.cpu_us for cost in rest), "µs/frame")
