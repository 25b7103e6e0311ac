# SPDX-License-Identifier: Apache-2.0
"""What the supervisor tells the world: health and statistics, read from shared memory."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

import msgspec
from msgspec import UNSET, UnsetType

from edged.messages import (
    DaemonState,
    Dropped,
    EngineHealth,
    Percentiles,
    SourceHealth,
)
from edged.messages_stats import ProcessStats, StageTime, Sustained, Verified, Window
from edged.runtime.members import Member, SourceStatus
from edged.runtime.rings import Rings
from edged.shm.board import (
    CAPTURE_STAGES,
    INFER_ROW,
    INFER_STAGES,
    PUBLISH_ROW,
    PUBLISH_STAGES,
    VERIFY_STAGES,
    Row,
)
from edged.shm.frame_table import AGE_P50_US, AGE_P99_US, RATE_MILLIHZ, FrameTable

_LOG = logging.getLogger("edged")


class HealthBody(msgspec.Struct, kw_only=True):
    """The part of `edged.messages.Health` that the supervisor knows; publish adds the rest."""

    state: DaemonState
    reasons: list[str]
    sources: dict[str, SourceHealth]
    engine: EngineHealth | None


class StatsBody(msgspec.Struct, kw_only=True):
    """The part of `edged.messages.Stats` that the supervisor knows."""

    uptime_s: float
    processes: dict[str, ProcessStats]
    verified: Verified | UnsetType = UNSET
    windows: dict[str, Window]
    sustained: Sustained | UnsetType = UNSET


def source_health(table: FrameTable, status: SourceStatus) -> SourceHealth:
    """One source's state with its counters, all of one moment."""
    counts = table.counts()
    words = table.words
    p50, p99 = words[AGE_P50_US], words[AGE_P99_US]
    return SourceHealth(
        state=status.state,
        reason=status.reason,
        captured=counts.captured,
        published=counts.published,
        in_flight=counts.in_flight,
        dropped=Dropped(
            overwritten=counts.overwritten,
            stale=counts.stale,
            decode_error=counts.decode_error,
            failed=counts.failed,
            shutdown=counts.shutdown,
        ),
        rate_hz=words[RATE_MILLIHZ] / 1000 if not status.over else 0.0,
        age_ms=Percentiles(p50=p50 / 1000, p99=p99 / 1000) if p50 > 0 else None,
        decode=status.decode,
        damaged=counts.damaged,
    )


def health(
    state: DaemonState,
    names: Sequence[str],
    statuses: Sequence[SourceStatus],
    members: Sequence[Member],
    rings: Rings,
    engine: EngineHealth | None,
) -> HealthBody:
    """The daemon's health; a daemon that is ready but lacks something is degraded, with the reasons."""
    reasons = [
        f"source {name} {status.state}: {status.reason}"
        for name, status in zip(names, statuses, strict=True)
        if status.state in ("failed", "backoff", "stalled")
    ]
    if state == "ready":
        down = [member for member in members if member.source < 0 and not member.ready]
        reasons += [f"{member.label} is being replaced" for member in down]
    return HealthBody(
        state="degraded" if state == "ready" and reasons else state,
        reasons=reasons,
        sources={
            name: source_health(table, status)
            for name, table, status in zip(names, rings.frames, statuses, strict=True)
        },
        engine=engine,
    )


def log_remarks(remarks: Sequence[tuple[str, str]]) -> None:
    """Log what a child had to say of its engine: severity and text, each."""
    for severity, text in remarks:
        _LOG.log(logging.WARNING if severity == "warning" else logging.INFO, "%s", text)


def stats(
    started_s: float,
    members: Sequence[Member],
    rings: Rings,
    verified: Verified | UnsetType = UNSET,
    *,
    windows: dict[str, Window] | None = None,
    sustained: Sustained | UnsetType = UNSET,
) -> StatsBody:
    """Where the time went so far, what the verify process found, and what the ledger says."""
    board = rings.board
    own = time.process_time()
    processes = {"supervisor": ProcessStats(cpu_s=round(own, 4))}
    for member in members:
        if member.role == "infer":
            stages = _stages(board.row(INFER_ROW), INFER_STAGES)
        elif member.role == "publish":
            stages = _stages(board.row(PUBLISH_ROW), PUBLISH_STAGES)
        elif member.role == "verify":
            stages = _stages(board.row(rings.verify_row), VERIFY_STAGES)
        else:
            stages = _stages(board.row(rings.capture_row(member.source)), CAPTURE_STAGES)
        cpu_s = cpu_seconds(member.running[0].pid) if member.running else 0.0
        processes[member.label] = ProcessStats(cpu_s=cpu_s, restarts=member.restarts, stages=stages)
    uptime_s = round(time.monotonic() - started_s, 3)
    return StatsBody(
        uptime_s=uptime_s,
        processes=processes,
        verified=verified,
        windows=windows or {},
        sustained=sustained,
    )


def in_a_line(body: HealthBody) -> str:
    """Health for one line of a service manager's status."""
    sources = body.sources.values()
    live = sum(source.state == "live" for source in sources)
    rate = sum(source.rate_hz for source in sources)
    captured = sum(source.captured for source in sources)
    lost = captured - sum(source.published + source.in_flight for source in sources)
    ages = [source.age_ms.p99 for source in sources if source.age_ms is not None]
    parts = [f"{body.state}: {live} of {len(body.sources)} sources live", f"{rate:.1f} predictions/s"]
    if ages:
        parts.append(f"age p99 {max(ages):.0f} ms")
    if captured:
        parts.append(f"{lost / captured:.1%} dropped")
    return "; ".join([", ".join(parts), *body.reasons])


def _stages(row: Row, names: Sequence[str]) -> dict[str, StageTime]:
    return {
        name: StageTime(count=times.runs, wall_s=times.wall_ns / 1e9, cpu_s=times.cpu_ns / 1e9)
        for name, times in row.times(names).items()
    }


def cpu_seconds(pid: int) -> float:
    """CPU time of a process with all its threads, seconds; 0 when it is gone."""
    # Linux's clock of another process (clock_getcpuclockid): nanoseconds, where /proc counts in hundredths.
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return 0.0
