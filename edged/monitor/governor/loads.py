# SPDX-License-Identifier: Apache-2.0
"""The steps in which the load is lowered, in the declared order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

LOW_PRIORITY_SHARES = (0.5, 0.25)
"""To which parts of their rate sources of low priority are capped, one group after the other."""
ONLY_PRIORITY_SHARE = 0.75
"""Where all sources have one priority: a first, finer step than an interval of 2."""
GROUPS = 3
"""Groups of low priority that get steps of their own; those above them are left to the interval."""
INTERVALS = (2, 3, 4)
_LEAST_GAIN = 0.02


@dataclass(frozen=True, slots=True)
class SourceLoad:
    """A source at the configured load.

    Attributes:
        name: of the source.
        rate_hz: frames a second that it delivers, measured or configured; 0 for one that has ended.
        priority: higher is more important.
    """

    name: str
    rate_hz: float
    priority: int = 0


@dataclass(frozen=True, slots=True)
class SmallerEngine:
    """An engine in the store that may stand in for the configured one.

    Attributes:
        key: of the engine.
        cost: of a frame, as a part of what it costs on the configured engine; above 0, below 1.
    """

    key: str
    cost: float


@dataclass(frozen=True, slots=True)
class Load:
    """One step.

    Attributes:
        share: estimated load, as a part of the configured one; each step's is lower than that of the step before.
        text: what is done, as a clause.
        caps: highest rate of some sources, frames a second; always below what they deliver.
        interval: one frame in so many is inferred, of every source, after the caps.
        engine: key of the engine in the configured one's place; None for that.
    """

    share: float
    text: str
    caps: Mapping[str, float] = field(default_factory=dict)
    interval: int = 1
    engine: str | None = None


CONFIGURED = Load(1.0, "the configured load")


def ladder(sources: Sequence[SourceLoad], engines: Iterable[SmallerEngine] = ()) -> tuple[Load, ...]:
    """The steps from the configured load (first) to the lowest (last).

    First the rates of sources of low priority, the lowest first; then one frame in 2, 3, 4 of every source; then the
    smaller engines, the largest of them first. Each step keeps what the ones before it did. A step that would save
    less than 2 % is left out.

    Args:
        sources: all of them, at the configured load.
        engines: what the store has.
    """
    total = sum(source.rate_hz for source in sources)
    if total <= 0:
        return (CONFIGURED,)
    steps = [CONFIGURED]
    kept: Mapping[str, float] = {}
    left = 1.0
    for caps, text, lasting in _caps(sources):
        saved = sum(source.rate_hz - caps.get(source.name, source.rate_hz) for source in sources)
        _append(steps, Load(1 - saved / total, text, caps))
        if lasting:
            kept, left = caps, 1 - saved / total
    for interval in INTERVALS:
        _append(steps, Load(left / interval, f"one frame in {interval} of every source", kept, interval))
    for engine in sorted(engines, key=lambda engine: -engine.cost):
        if 0 < engine.cost < 1:
            share = left / INTERVALS[-1] * engine.cost
            _append(steps, Load(share, f"the smaller engine {engine.key}", kept, INTERVALS[-1], engine.key))
    return tuple(steps)


def _caps(sources: Sequence[SourceLoad]) -> list[tuple[dict[str, float], str, bool]]:
    """Caps, what to call them, and whether they stay when the interval grows."""
    priorities = sorted({source.priority for source in sources if source.rate_hz > 0})
    if len(priorities) == 1:
        caps = {source.name: ONLY_PRIORITY_SHARE * source.rate_hz for source in sources if source.rate_hz > 0}
        return [(caps, f"{ONLY_PRIORITY_SHARE:.0%} of the rate of every source", False)]
    steps, caps = [], {}
    for priority in priorities[:-1][:GROUPS]:
        for share in LOW_PRIORITY_SHARES:
            group = [source for source in sources if source.priority == priority and source.rate_hz > 0]
            caps = caps | {source.name: share * source.rate_hz for source in group}
            steps.append((caps, f"{share:.0%} of the rate of {_names(group)} (priority {priority})", True))
    return steps


def _names(group: Sequence[SourceLoad]) -> str:
    names = [source.name for source in group]
    return ", ".join(names) if len(names) <= 4 else f"{len(names)} sources"


def _append(steps: list[Load], load: Load) -> None:
    if load.share <= steps[-1].share - _LEAST_GAIN:
        steps.append(load)
