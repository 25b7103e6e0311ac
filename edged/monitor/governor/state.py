# SPDX-License-Identifier: Apache-2.0
"""What the governor sees, remembers and decides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from edged.monitor.governor.loads import Load
from edged.monitor.governor.slope import Warmth

Mode = Literal["off", "advise", "act"]
Kind = Literal["lower", "raise", "exhausted", "blind", "seeing"]


@dataclass(frozen=True, slots=True)
class Heat:
    """One reading.

    Attributes:
        at_s: monotonic clock, seconds.
        temperature_c: of the part that is closest to slowing down; None where unknown, never a guess.
        trip_c: where the hardware slows that part down; None where unknown. A sensor of the margin alone is given as
            ``temperature_c = -margin, trip_c = 0``.
        throttled: whether the hardware slows down for heat now. Not for power or current.
        p99_ms: latency of the last seconds; None where nothing went out.
    """

    at_s: float
    temperature_c: float | None
    trip_c: float | None
    throttled: bool = False
    p99_ms: float | None = None


@dataclass(frozen=True, slots=True)
class Bands:
    """When to act. The bands of lowering and raising overlap nowhere: between them nothing happens.

    Attributes:
        lower_margin_c: this close to the trip point the load is lowered, unless it is getting cooler already.
        warm_margin_c: closer than this, a prediction counts.
        horizon_s: the load is lowered if the trip point is predicted within this time.
        raise_margin_c: the load is raised only further away than this; closer, latency above its bound counts as heat.
        raise_horizon_s: and only if the trip point is predicted no earlier.
        urgent_dwell_s: after any change, until the load is lowered again if the trip point is near in time.
        lower_dwell_s: the same if it is only near.
        raise_dwell_s: after any change, until the load is raised. To a level that had to be left again it is doubled
            each time, unless the margin is larger by ``better_c`` than when that raise was made.
        longest_dwell_s: it is never doubled beyond this.
        settled_s: a raise that held for so long was right.
        better_c: see ``raise_dwell_s``.
        p99_bound_ms: latency that is to be kept; None for none.
        p99_calm: the load is raised only while the latency is below this part of its bound.
    """

    lower_margin_c: float = 3.0
    warm_margin_c: float = 15.0
    horizon_s: float = 45.0
    raise_margin_c: float = 8.0
    raise_horizon_s: float = 300.0
    urgent_dwell_s: float = 10.0
    lower_dwell_s: float = 30.0
    raise_dwell_s: float = 60.0
    longest_dwell_s: float = 1920.0
    settled_s: float = 600.0
    better_c: float = 5.0
    p99_bound_ms: float | None = None
    p99_calm: float = 0.8


class Raised(NamedTuple):
    """A raise: when, seconds, and how far below the trip point, Kelvin."""

    at_s: float
    margin_c: float


class Failed(NamedTuple):
    """A level that was too much: which, the margin when it was raised to, and how long to wait before the next try."""

    level: int
    margin_c: float
    dwell_s: float


@dataclass(frozen=True, slots=True)
class State:
    """What is remembered from one reading to the next. A change of mode begins with a new one.

    Attributes:
        level: step of the ladder; 0 is the configured load.
        last_s: when the last reading was taken.
        changes: when the level changed last and before that; at most two.
        raised: the last raise, if the level was not lowered since.
        failed: the raise that had to be taken back last, if none has held since.
        points: temperatures of the last 40 s.
        turned_s: when the temperature became known or unknown.
        known: whether it was at the last reading.
        blind: whether it was told that it is unknown.
        exhausted: whether it was told that nothing is left to lower.
    """

    level: int = 0
    last_s: float | None = None
    changes: tuple[float, ...] = ()
    raised: Raised | None = None
    failed: Failed | None = None
    points: tuple[Warmth, ...] = ()
    turned_s: float | None = None
    known: bool = True
    blind: bool = False
    exhausted: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """A step, or something to tell; each makes one event.

    Attributes:
        at_s: monotonic clock, seconds.
        kind: ``lower`` and ``raise`` change the level; the others only tell.
        before: level until now.
        after: level from now on.
        load: what belongs to ``after``.
        reason: why, as a sentence without a full stop.
        acts: whether the load is to be changed; False where only advice was asked for.
        evidence: the figures behind it; those that are unknown are absent.
    """

    at_s: float
    kind: Kind
    before: int
    after: int
    load: Load
    reason: str
    acts: bool
    evidence: Mapping[str, float] = field(default_factory=dict)
