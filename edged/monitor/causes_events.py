# SPDX-License-Identifier: Apache-2.0
"""When a throttle begins and ends: a pure function of what was before and one more reading.

A throttle begins after it was at work for two seconds, so that a blink is no event, and ends after thirty quiet ones,
so that an unsteady one is one event and not fifty. Begin and end alternate; a cause begins at most twice a minute.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

from edged.monitor.causes_evidence import GAP_S, HELD, Level, between
from edged.monitor.causes_words import held_words
from edged.monitor.readings import Cause, Reading

_TITLES = {
    Cause.THERMAL: "held back for heat",
    Cause.POWER_CAP: "held back by the power limit",
    Cause.OVER_CURRENT: "over-current or under-voltage protection at work",
}

_NOTHING = Level()


class Hysteresis(NamedTuple):
    """How long is long.

    Attributes:
        begin_s: at work for so long in all, before it is an event.
        pause_s: pauses up to this length belong to the same attempt.
        end_s: quiet for so long, before it is over.
        lost_s: unknown for so long, before it is given up.
        share: of the time between two readings from which on a cause is at work.
        gap_s: readings further apart say nothing about the time between them.
    """

    begin_s: float = 2.0
    pause_s: float = 5.0
    end_s: float = 30.0
    lost_s: float = 60.0
    share: float = 0.05
    gap_s: float = GAP_S


class ThrottleEvent(NamedTuple):
    """A throttle began or ended.

    Attributes:
        kind: which of both.
        cause: why.
        at: of the reading that decided it, monotonic seconds.
        since: when it first was at work, monotonic seconds.
        evidence: in words and numbers.
        numbers: for programs: ``seconds`` at work, ``held_seconds`` and ``events`` as counted.
    """

    kind: Literal["begin", "end"]
    cause: Cause
    at: float
    since: float
    evidence: str
    numbers: dict[str, float]


@dataclass(frozen=True, slots=True)
class Throttle:
    """A throttle, begun or about to.

    Attributes:
        cause: why.
        since: when it first was at work, monotonic seconds.
        begun: whether the event was given.
        active_s: at work so far, seconds.
        quiet_s: not at work since, seconds.
        lost_s: unknown since, seconds.
        level: all that was counted so far.
        hottest: highest temperature so far, °C; None where none is known.
    """

    cause: Cause
    since: float
    begun: bool = False
    active_s: float = 0.0
    quiet_s: float = 0.0
    lost_s: float = 0.0
    level: Level = _NOTHING
    hottest: float | None = None

    @property
    def evidence(self) -> str:
        """In words and numbers."""
        words = held_words(_TITLES[self.cause], self.level)
        return words if self.hottest is None else f"{words}; hottest {self.hottest:.1f} °C"

    @property
    def numbers(self) -> dict[str, float]:
        """For programs."""
        numbers = {"seconds": self.active_s, "held_seconds": self.level.seconds, "events": self.level.events}
        return numbers if self.hottest is None else numbers | {"hottest_celsius": self.hottest}


@dataclass(frozen=True, slots=True)
class Throttles:
    """Everything that is remembered between two readings: the last of them, and what goes on."""

    last: Reading | None = None
    open: tuple[Throttle, ...] = ()

    @property
    def ongoing(self) -> tuple[Throttle, ...]:
        """Those that have begun and not ended."""
        return tuple(throttle for throttle in self.open if throttle.begun)


def advance(
    state: Throttles, reading: Reading, hysteresis: Hysteresis | None = None
) -> tuple[Throttles, tuple[ThrottleEvent, ...]]:
    """Take in one more reading.

    Args:
        state: what was before; ``Throttles()`` at the start.
        reading: a later one; one that is not later is ignored.
        hysteresis: how long is long.

    Returns:
        The new state, and what began or ended.
    """
    rules = hysteresis or Hysteresis()
    last = state.last
    if last is None:
        return Throttles(reading), ()
    if reading.at <= last.at:
        return state, ()
    elapsed = reading.at - last.at
    levels = between(last, reading, rules.gap_s)
    known = {throttle.cause: throttle for throttle in state.open}
    kept: list[Throttle] = []
    events: list[ThrottleEvent] = []
    for cause in HELD:
        # Over a gap nothing was seen: what is open stays as it is.
        before = known.get(cause)
        after = before if elapsed > rules.gap_s else _next(cause, before, levels.get(cause), last, reading, rules)
        if after is not None and after.begun and not (before and before.begun):
            events.append(_event("begin", after, reading.at, after.evidence))
        if after is not None:
            kept.append(after)
        elif before is not None and before.begun:
            events.append(_event("end", before, reading.at, _end_words(before, rules)))
    return Throttles(reading, tuple(kept)), tuple(events)


def _next(
    cause: Cause, throttle: Throttle | None, level: Level | None, last: Reading, reading: Reading, rules: Hysteresis
) -> Throttle | None:
    elapsed = reading.at - last.at
    if level is not None and level.share >= rules.share:
        throttle = throttle or Throttle(cause, last.at)
        active = throttle.active_s + elapsed
        return replace(
            throttle,
            begun=throttle.begun or active >= rules.begin_s,
            active_s=active,
            quiet_s=0.0,
            lost_s=0.0,
            level=_added(throttle.level, level),
            hottest=max((throttle.hottest, *reading.values("temperature").values()), key=_or_cold, default=None),
        )
    if throttle is None:
        return None
    if level is None:
        throttle = replace(throttle, lost_s=throttle.lost_s + elapsed)
    else:
        throttle = replace(throttle, quiet_s=throttle.quiet_s + elapsed, lost_s=0.0)
    patience = rules.end_s if throttle.begun else rules.pause_s
    # Time in which nothing is known neither keeps a throttle up for ever nor ends it early.
    return throttle if throttle.quiet_s < patience and throttle.lost_s < rules.lost_s else None


def _or_cold(value: float | None) -> float:
    return float("-inf") if value is None else value


def _added(total: Level, level: Level) -> Level:
    observed = total.observed_s + level.observed_s
    share = (total.share * total.observed_s + level.share * level.observed_s) / observed
    names = tuple(dict.fromkeys(total.names + level.names))
    counted = total.counted or level.counted
    return Level(share, counted, total.seconds + level.seconds, total.events + level.events, names, observed)


def _event(kind: Literal["begin", "end"], throttle: Throttle, at: float, evidence: str) -> ThrottleEvent:
    return ThrottleEvent(kind, throttle.cause, at, throttle.since, evidence, throttle.numbers)


def _end_words(throttle: Throttle, rules: Hysteresis) -> str:
    # The last step is not in the record, so the larger of the two patiences' shares tells which one ran out.
    lost = throttle.lost_s / rules.lost_s > throttle.quiet_s / rules.end_s
    how = "given up: nothing tells any more" if lost else f"over, after {throttle.active_s:.0f} s at work"
    return f"{how}; {throttle.evidence}"
