# SPDX-License-Identifier: Apache-2.0
"""From a reading and what is remembered to a decision; nothing else goes in, and nothing else comes out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import inf, isfinite
from typing import NamedTuple

from edged.monitor.governor.loads import Load
from edged.monitor.governor.slope import Warmth, extended, slope
from edged.monitor.governor.state import Bands, Decision, Failed, Heat, Kind, Mode, Raised, State

BUDGET_S = 60.0
"""No more than two changes of level lie within this time, ends included."""
_STEADY_C_PER_S = 0.005
_COOLING_C_PER_S = -0.01
_SURE_S = 10.0
_URGENT_S, _VERY_URGENT_S = 20.0, 10.0
_KEPT = (1.0, 0.85, 0.6, 0.35)
"""By urgency: at most this part of the present load is kept, in at least one step of the ladder."""
_COLDEST_C, _HOTTEST_C = -150.0, 150.0


class _View(NamedTuple):
    """What a reading means.

    Attributes:
        margin_c: to the trip point.
        slope: Kelvin a second; None while too little is known.
        left_s: until the trip point at that slope; infinite where it is not getting warmer.
        late: whether latency is above its bound.
        calm: whether it is well below, or nothing is known against it.
    """

    margin_c: float
    slope: float | None
    left_s: float
    late: bool
    calm: bool


def govern(state: State, heat: Heat, ladder: Sequence[Load], bands: Bands, mode: Mode) -> tuple[State, Decision | None]:
    """Look at one reading.

    Args:
        state: what the last call returned; `State()` at first.
        heat: the reading; one that is not later than the last is left out.
        ladder: the steps, from `edged.monitor.governor.loads.ladder`; may change from call to call.
        bands: when to act.
        mode: ``off`` does nothing. ``advise`` tells the first step and when it is no longer needed, but cannot know
            what further ones would do. ``act`` goes all the way.

    Returns:
        The state to hand in next, and what to do or tell, if anything.
    """
    if mode == "off" or not isfinite(heat.at_s) or (state.last_s is not None and heat.at_s <= state.last_s):
        return state, None
    rungs = ladder[:2] if mode == "advise" else ladder
    state = replace(state, last_s=heat.at_s, level=min(state.level, len(rungs) - 1))
    margin = _margin(heat)
    state = _turned(state, heat.at_s, margin is not None)
    sure = state.turned_s is not None and heat.at_s - state.turned_s >= _SURE_S
    if margin is None:
        state = replace(state, points=())
        if state.blind or not sure:
            return state, None
        return replace(state, blind=True), _decision(state, heat, rungs, mode, "blind", state.level, _blind(heat))
    state = replace(state, points=extended(state.points, Warmth(heat.at_s, -margin)))
    if state.blind and sure:
        reason = "temperature and trip point are known again"
        return replace(state, blind=False), _decision(state, heat, rungs, mode, "seeing", state.level, reason)
    view = _view(state, heat, margin, bands)
    urgency, reason = _urgency(view, heat, bands)
    if urgency:
        return _lower(state, heat, rungs, bands, mode, view, urgency, reason)
    return _raise(state, heat, rungs, bands, mode, view)


def _margin(heat: Heat) -> float | None:
    if heat.temperature_c is None or heat.trip_c is None:
        return None
    if not (_COLDEST_C <= heat.temperature_c <= _HOTTEST_C and _COLDEST_C <= heat.trip_c <= _HOTTEST_C):
        return None
    return heat.trip_c - heat.temperature_c


def _turned(state: State, at_s: float, known: bool) -> State:
    if state.turned_s is None or known != state.known:
        return replace(state, known=known, turned_s=at_s)
    return state


def _blind(heat: Heat) -> str:
    what = "temperature" if heat.temperature_c is None else "trip point" if heat.trip_c is None else ""
    return f"{what} unknown: the load stays as it is" if what else "temperature absurd: the load stays as it is"


def _view(state: State, heat: Heat, margin: float, bands: Bands) -> _View:
    rate = slope(state.points)
    left_s = inf
    if margin <= 0:
        left_s = 0.0
    elif rate is not None and rate > _STEADY_C_PER_S:
        left_s = margin / rate
    p99, bound = heat.p99_ms, bands.p99_bound_ms
    known = p99 is not None and bound is not None
    return _View(
        margin_c=margin,
        slope=rate,
        left_s=left_s,
        late=known and p99 > bound,  # type: ignore[operator]  # both are known
        calm=not known or p99 <= bands.p99_calm * bound,  # type: ignore[operator]
    )


def _urgency(view: _View, heat: Heat, bands: Bands) -> tuple[int, str]:
    """How much to lower the load, 0 (not at all) to 3, and why."""
    cooling = view.slope is not None and view.slope < _COOLING_C_PER_S
    if heat.throttled:
        return 1 if cooling else 3, "the hardware throttles for heat"
    if cooling:
        return 0, ""
    where = f"{view.margin_c:.1f} K below the trip point"
    if view.margin_c <= 0:
        return 3, "the trip point is reached"
    if view.margin_c <= bands.warm_margin_c and view.left_s <= bands.horizon_s:
        urgency = 3 if view.left_s <= _VERY_URGENT_S else 2 if view.left_s <= _URGENT_S else 1
        return (
            urgency,
            f"throttling is predicted in {view.left_s:.0f} s ({where}, {60 * (view.slope or 0):+.1f} K a minute)",
        )
    if view.margin_c <= bands.lower_margin_c:
        return 1, f"only {where}"
    if view.late and view.margin_c <= bands.raise_margin_c:
        return 1, f"p99 latency is above its bound and the device is hot ({where})"
    return 0, ""


def _lower(
    state: State, heat: Heat, rungs: Sequence[Load], bands: Bands, mode: Mode, view: _View, urgency: int, reason: str
) -> tuple[State, Decision | None]:
    if state.level == len(rungs) - 1:
        if state.exhausted or mode == "advise":
            return state, None
        text = f"{reason}, and no step is left to lower the load"
        told = replace(state, exhausted=True)
        return told, _decision(state, heat, rungs, mode, "exhausted", state.level, text, view)
    if not _may_change(state, heat.at_s, bands.urgent_dwell_s if urgency > 1 else bands.lower_dwell_s):
        return state, None
    level = _lower_level(state, heat, rungs, urgency)
    after = replace(
        state,
        level=level,
        changes=(*state.changes, heat.at_s)[-2:],
        raised=None,
        failed=_failed(state, heat.at_s, bands),
    )
    return after, _decision(state, heat, rungs, mode, "lower", level, reason, view)


def _lower_level(state: State, heat: Heat, rungs: Sequence[Load], urgency: int) -> int:
    # The step before was not enough, and this is the last one for a minute.
    if state.raised is None and state.changes and heat.at_s - state.changes[-1] <= BUDGET_S:
        urgency = min(urgency + 1, 3)
    wanted = _KEPT[urgency] * rungs[state.level].share
    below = range(state.level + 1, len(rungs))
    return next((level for level in below if rungs[level].share <= wanted), len(rungs) - 1)


def _raise(
    state: State, heat: Heat, rungs: Sequence[Load], bands: Bands, mode: Mode, view: _View
) -> tuple[State, Decision | None]:
    failed = _remembered(state, heat.at_s, bands)
    dwell = bands.raise_dwell_s
    if failed and state.level - 1 <= failed.level and view.margin_c < failed.margin_c + bands.better_c:
        dwell = failed.dwell_s
    safe = view.margin_c >= bands.raise_margin_c and view.slope is not None and view.left_s > bands.raise_horizon_s
    if not (state.level and safe and view.calm and _may_change(state, heat.at_s, dwell)):
        return state, None
    after = replace(
        state,
        level=state.level - 1,
        changes=(*state.changes, heat.at_s)[-2:],
        raised=Raised(heat.at_s, view.margin_c),
        failed=failed,
        exhausted=False,
    )
    reason = f"cool enough: {view.margin_c:.1f} K below the trip point, {60 * (view.slope or 0):+.1f} K a minute"
    return after, _decision(state, heat, rungs, mode, "raise", after.level, reason, view)


def _settled(state: State, at_s: float, bands: Bands) -> bool:
    return state.raised is not None and at_s - state.raised.at_s > bands.settled_s


def _remembered(state: State, at_s: float, bands: Bands) -> Failed | None:
    """The failure that still counts: a level that has held, or one above it in load, is no failure any more."""
    held = state.failed is not None and state.level <= state.failed.level and _settled(state, at_s, bands)
    return None if held else state.failed


def _failed(state: State, at_s: float, bands: Bands) -> Failed | None:
    """What to remember when a level is left for a lower load."""
    if state.raised is None or _settled(state, at_s, bands):
        return _remembered(state, at_s, bands)
    dwell = state.failed.dwell_s if state.failed else bands.raise_dwell_s
    return Failed(state.level, state.raised.margin_c, min(2 * dwell, bands.longest_dwell_s))


def _may_change(state: State, at_s: float, dwell_s: float) -> bool:
    if state.changes and at_s - state.changes[-1] < dwell_s:
        return False
    return len(state.changes) < 2 or at_s - state.changes[-2] > BUDGET_S


def _decision(
    state: State,
    heat: Heat,
    rungs: Sequence[Load],
    mode: Mode,
    kind: Kind,
    level: int,
    reason: str,
    view: _View | None = None,
) -> Decision:
    found = {"temperature_c": heat.temperature_c, "trip_c": heat.trip_c, "p99_ms": heat.p99_ms}
    if view is not None:
        found |= {"margin_c": view.margin_c, "slope_c_per_s": view.slope, "left_s": view.left_s}
    evidence = {name: value for name, value in found.items() if value is not None and isfinite(value)}
    return Decision(heat.at_s, kind, state.level, level, rungs[level], reason, mode == "act", evidence)
