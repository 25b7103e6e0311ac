# SPDX-License-Identifier: Apache-2.0
"""What counters and flags say about the time between two readings, and about a span of them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from edged.monitor.readings import Cause, Kind, Reading

HELD = (Cause.THERMAL, Cause.POWER_CAP, Cause.OVER_CURRENT)
"""Causes with which the hardware holds the clocks down."""
GAP_S = 10.0
"""Readings further apart say nothing about the time between them."""
_HOT_MARGIN_C = 3.0
"""A hardware slowdown without a reason counts as heat below this margin, as a power draw above it."""


class Level(NamedTuple):
    """How much of a time one cause was at work.

    Attributes:
        share: 0 to 1.
        counted: whether cumulative counters say so, not only flags.
        seconds: held back, by the counters.
        events: counted.
        names: of the counters and flags that say so, most first.
        observed_s: the time looked at.
    """

    share: float = 0.0
    counted: bool = False
    seconds: float = 0.0
    events: float = 0.0
    names: tuple[str, ...] = ()
    observed_s: float = 0.0


def between(before: Reading, now: Reading, gap_s: float = GAP_S) -> dict[Cause, Level]:
    """What was at work between two readings.

    A cause is in the answer only where something about it was known. A counter that grew is believed before the flags
    of its cause; where none grew, a flag that stands counts. A counter that fell (wrapped or was reset), or that claims
    more time than has passed, says nothing.

    Args:
        before: the earlier reading.
        now: the later one.
        gap_s: longest time between them that is still looked at.
    """
    elapsed = now.at - before.at
    if not 0 < elapsed <= gap_s:
        return {}
    levels: dict[Cause, Level] = {}
    for cause, name, active in _flags(now):
        _merge(levels, cause, Level(float(active), False, 0.0, 0.0, (name,) if active else (), elapsed))
    old = {(counter.name, counter.unit): counter.value for counter in before.counters}
    for counter in now.counters:
        growth = counter.value - old.get((counter.name, counter.unit), float("inf"))
        timed = counter.unit == "seconds"
        if counter.cause is None or growth < 0 or (timed and growth > 1.5 * elapsed + 0.1):
            continue
        share = min(1.0, growth / elapsed) if timed else float(growth > 0)
        seconds, events = (growth, 0.0) if timed else (0.0, growth)
        grew = growth > 0
        _merge(levels, counter.cause, Level(share, grew, seconds, events, (counter.name,) if grew else (), elapsed))
    return levels


def _flags(now: Reading) -> Iterable[tuple[Cause, str, bool]]:
    explained = False
    for flag in now.flags:
        if flag.cause is not None:
            explained = explained or (flag.active and flag.cause in (Cause.THERMAL, Cause.OVER_CURRENT))
            yield flag.cause, flag.name, flag.active
    margins = now.values("margin").values()
    if explained or not margins:
        return
    cause = Cause.THERMAL if min(margins) <= _HOT_MARGIN_C else Cause.OVER_CURRENT
    yield from ((cause, flag.name, True) for flag in now.flags if flag.cause is None and flag.active)


def _merge(levels: dict[Cause, Level], cause: Cause, other: Level) -> None:
    """The stronger one counts: counters before flags, then the larger share."""
    level = levels.get(cause)
    if level is None:
        levels[cause] = other
        return
    first, second = (other, level) if (other.counted, other.share) > (level.counted, level.share) else (level, other)
    names = first.names if first.counted and not second.counted else first.names + second.names
    levels[cause] = Level(
        first.share,
        first.counted,
        # Several counters may count the same time, so times are not summed.
        max(first.seconds, second.seconds),
        first.events + second.events,
        names,
        first.observed_s,
    )


def over(readings: Sequence[Reading], gap_s: float = GAP_S) -> dict[Cause, Level]:
    """What was at work over a span of readings; shares are of the time in which something about the cause was known."""
    steps: dict[Cause, list[Level]] = {}
    for before, now in pairwise(readings):
        for cause, level in between(before, now, gap_s).items():
            steps.setdefault(cause, []).append(level)
    return {cause: _sum(levels) for cause, levels in steps.items()}


def _sum(levels: list[Level]) -> Level:
    observed = sum(level.observed_s for level in levels)
    held = sum(level.share * level.observed_s for level in levels)
    names = dict.fromkeys(name for level in levels for name in level.names)
    return Level(
        held / observed,
        any(level.counted for level in levels),
        sum(level.seconds for level in levels),
        sum(level.events for level in levels),
        tuple(names),
        observed,
    )


def middles(readings: Sequence[Reading], kind: Kind) -> dict[str, float]:
    """Median of each sensor of one kind, over the readings in which it is known."""
    found: dict[str, list[float]] = {}
    for reading in readings:
        for name, value in reading.values(kind).items():
            found.setdefault(name, []).append(value)
    return {name: median(values) for name, values in found.items()}


def allowed(readings: Sequence[Reading]) -> dict[str, float]:
    """Median of the most each clock was allowed, Hz, where that is known."""
    found: dict[str, list[float]] = {}
    for reading in readings:
        for clock in reading.clocks:
            if clock.allowed is not None:
                found.setdefault(clock.name, []).append(clock.allowed)
    return {name: median(values) for name, values in found.items()}


def compute_clocks(clocks: dict[str, float]) -> dict[str, float]:
    """Those that set the pace: the GPU's where there is one (not its memory's nor its video units'), else the CPU's."""
    gpu = {name: value for name, value in clocks.items() if name == "gpu" or name.startswith(("gpu-gpc", "gpu-2"))}
    return gpu or {name: value for name, value in clocks.items() if name.startswith("cpu")}
