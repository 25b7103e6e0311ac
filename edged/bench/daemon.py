# SPDX-License-Identifier: Apache-2.0
"""The whole daemon, from sources to subscriber: how fast, how fresh, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, median
from typing import NamedTuple

from edged.bench.capture_alone import capture_alone
from edged.bench.child import Child
from edged.bench.report import Contestant
from edged.bench.report_daemon import DaemonRun, LiveRun, StageCost
from edged.bench.subject import Subject
from edged.bench.workload import Workload, flat_out, paced, settings_text
from edged.messages import Health, Message, Prediction, Stats
from edged.rig.figures import distribution, spread
from edged.rig.rounds import Plan

MOST_STARTS = 5
"""Of each contestant's daemon: starting takes seconds, so that several rounds share one where there is but one."""
_SETTLE_S = 1.0
_CAPTURE = "capture:"


class Player(NamedTuple):
    """A contestant's daemon and where its figures go; without ``max_batch`` the daemon chooses, as it does in use."""

    subject: Subject
    result: Contestant
    max_batch: int | None


@dataclass
class _Seen:
    """What was seen of one contestant."""

    rates: list[float] = field(default_factory=list)
    batches: list[float] = field(default_factory=list)
    largest: int = 0
    pairs: list[tuple[Stats, Stats]] = field(default_factory=list)


def starts_of(players: int, rounds: int) -> int:
    """How often each daemon is started: once where it is alone, else in several rounds."""
    return 1 if players == 1 else min(rounds, MOST_STARTS)


def measure_daemons(players: Sequence[Player], uris: Sequence[str], plan: Plan) -> None:
    """Fill in every contestant's `DaemonRun`; ends early with what there is when asked to stop."""
    works = [flat_out(player.subject, uris) for player in players]
    seen = [_Seen() for _ in players]
    starts = starts_of(len(players), plan.rounds)
    for start in range(starts):
        windows = len(range(start, plan.rounds, starts))
        order = list(range(len(players)))
        for index in order if start % 2 == 0 else order[::-1]:
            if not plan.stop():
                _throughput(players[index], works[index], seen[index], windows, plan)
    for player, work, own in zip(players, works, seen, strict=True):
        if own.rates:
            player.result.daemon = _run_of(work, own)
    for player, work in zip(players, works, strict=True):
        run = player.result.daemon
        if run is not None and not plan.stop():
            run.capture_per_s = capture_alone(player.subject, work, max(plan.seconds, _SETTLE_S), plan.stop)
            plan.tick()
            run.live = _live(player, uris, run.frames_per_s.median, plan)


def _text(player: Player, work: Workload) -> Callable[[str, Path], str]:
    return lambda endpoint, folder: settings_text(player.subject, work, endpoint, folder, player.max_batch)


def _throughput(player: Player, work: Workload, seen: _Seen, windows: int, plan: Plan) -> None:
    with Child(_text(player, work), plan.stop) as child:
        if child.first() is None:
            return
        child.messages(min(_SETTLE_S, plan.seconds * 2))
        before = child.stats()
        for _ in range(windows):
            found = _predictions(child.messages(plan.seconds))
            if plan.stop():
                return
            if len(found) > 1:
                seen.rates.append(_rate(found))
                # A batch of n frames makes n messages, each of which says n.
                seen.batches.append(len(found) / sum(1 / message.batch for message in found))
                seen.largest = max(seen.largest, *(message.batch for message in found))
            plan.tick()
        after = child.stats()
    if before is not None and after is not None:
        seen.pairs.append((before, after))


def _rate(messages: Sequence[Prediction]) -> float:
    """Published frames a second: sequence numbers tell how many, whatever was lost on the way here."""
    first: dict[str, Prediction] = {}
    last: dict[str, Prediction] = {}
    for message in messages:
        first.setdefault(message.source, message)
        last[message.source] = message
    count = sum(last[source].seq - first[source].seq for source in first)
    begin = min(_published_s(message) for message in first.values())
    end = max(_published_s(message) for message in last.values())
    return count / (end - begin) if end > begin else 0.0


def _published_s(message: Prediction) -> float:
    """On CLOCK_MONOTONIC, as the daemon measured it."""
    return message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3


def _predictions(messages: Sequence[Message]) -> list[Prediction]:
    return [message for message in messages if isinstance(message, Prediction)]


def _run_of(work: Workload, seen: _Seen) -> DaemonRun:
    stages, busy = _stages(seen.pairs), _busy(seen.pairs)
    return DaemonRun(
        sources=work.shown,
        batch=seen.largest,
        frames_per_s=spread(seen.rates),
        batch_mean=fmean(seen.batches),
        stages=stages,
        busy=busy,
        notes=list(work.notes),
    )


def _stages(pairs: Sequence[tuple[Stats, Stats]]) -> dict[str, StageCost]:
    """Time of every stage a frame; all captures together."""
    frames = sum(_count(after, "postprocess") - _count(before, "postprocess") for before, after in pairs)
    if frames <= 0:
        return {}
    names = dict.fromkeys(name for _, after in pairs for process in after.processes.values() for name in process.stages)
    return {
        name: StageCost(
            wall_us=1e6 * sum(_sum(after, name)[0] - _sum(before, name)[0] for before, after in pairs) / frames,
            cpu_us=1e6 * sum(_sum(after, name)[1] - _sum(before, name)[1] for before, after in pairs) / frames,
        )
        for name in names
    }


def _count(stats: Stats, stage: str) -> int:
    return sum(process.stages[stage].count for process in stats.processes.values() if stage in process.stages)


def _sum(stats: Stats, stage: str) -> tuple[float, float]:
    """Wall and CPU seconds."""
    found = [process.stages[stage] for process in stats.processes.values() if stage in process.stages]
    return sum(times.wall_s for times in found), sum(times.cpu_s for times in found)


def _busy(pairs: Sequence[tuple[Stats, Stats]]) -> dict[str, float]:
    """Share of the time that a process was inside its stages; of captures the busiest."""
    shares: dict[str, list[float]] = {}
    for before, after in pairs:
        took = after.uptime_s - before.uptime_s
        busiest: dict[str, float] = {}
        for name, process in after.processes.items():
            earlier = before.processes.get(name)
            if earlier is None or not process.stages or took <= 0:
                continue
            wall = sum(times.wall_s for times in process.stages.values())
            wall -= sum(times.wall_s for times in earlier.stages.values())
            role = "capture" if name.startswith(_CAPTURE) else name
            busiest[role] = max(busiest.get(role, 0.0), wall / took)
        for role, share in busiest.items():
            shares.setdefault(role, []).append(share)
    return {role: fmean(values) for role, values in shares.items()}


def _live(player: Player, uris: Sequence[str], rate: float, plan: Plan) -> LiveRun | None:
    """Ages with live sources, over as long as all rounds together."""
    work = paced(player.subject, uris, rate)
    with Child(_text(player, work), plan.stop) as child:
        if child.first() is None:
            return None
        child.messages(min(_SETTLE_S, plan.seconds))
        begin = _last_health(child.messages(1.1))
        messages = child.messages(max(plan.seconds * plan.rounds, 1.1))
    found, end = _predictions(messages), _last_health(messages)
    plan.tick()
    if not found:
        return None
    timings = [message.timing_ms for message in found]
    seconds = (end.at - begin.at) if begin is not None and end is not None else 0.0
    captured = _captured(end) - _captured(begin) if seconds > 0 else 0
    return LiveRun(
        sources=work.shown,
        offered_per_s=captured / seconds if seconds > 0 else 0.0,
        published_per_s=_rate(found),
        age_ms=distribution([message.age_ms for message in found]),
        timing_ms={
            stage: median(getattr(timing, stage) for timing in timings)
            for stage in ("wait", "copy", "infer", "postprocess")
        },
        dropped=_dropped(begin, end),
    )


def _last_health(messages: Sequence[Message]) -> Health | None:
    return next((message for message in reversed(messages) if isinstance(message, Health)), None)


def _captured(health: Health | None) -> int:
    return 0 if health is None else sum(source.captured for source in health.sources.values())


def _dropped(begin: Health | None, end: Health | None) -> dict[str, int]:
    """Frames dropped between two health messages, by reason; only reasons that occurred."""
    counts: dict[str, int] = {}
    for sign, health in ((-1, begin), (1, end)):
        for source in () if health is None else health.sources.values():
            for reason in ("overwritten", "stale", "decode_error", "failed"):
                counts[reason] = counts.get(reason, 0) + sign * getattr(source.dropped, reason)
    return {reason: count for reason, count in counts.items() if count > 0}
