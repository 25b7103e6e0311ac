# SPDX-License-Identifier: Apache-2.0
"""What holds for the governor whatever it is told."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from math import isclose, nan

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.monitor.governor.govern import BUDGET_S, govern
from edged.monitor.governor.loads import CONFIGURED, Load, SmallerEngine, SourceLoad, ladder
from edged.monitor.governor.slope import Warmth, extended, slope
from edged.monitor.governor.state import Bands, Decision, Heat, State

SOURCES = [SourceLoad("a", 30.0, 2), SourceLoad("b", 20.0, 1), SourceLoad("c", 10.0)]
STEPS = ladder(SOURCES, [SmallerEngine("s", 0.3), SmallerEngine("m", 0.6)])
BANDS = Bands(p99_bound_ms=100.0)

_TEMPERATURE = st.one_of(st.none(), st.floats(20, 110), st.sampled_from([-256.0, nan, 95.0, 87.0, 92.0]))
_HEAT = st.tuples(
    st.sampled_from([0.1, 0.5, 1.0, 1.0, 1.0, 5.0, 30.0, 200.0]),
    _TEMPERATURE,
    st.booleans(),
    st.one_of(st.none(), st.floats(0, 1000)),
)


def _drive(readings: list[tuple[float, float | None, bool, float | None]]) -> tuple[State, list[Decision]]:
    state, now, decisions = State(), 0.0, []
    for gap_s, temperature, throttled, p99_ms in readings:
        now += gap_s
        before = state
        state, decision = govern(state, Heat(now, temperature, 95.0, throttled, p99_ms), STEPS, BANDS, "act")
        assert 0 <= state.level < len(STEPS)
        assert len(state.points) <= 47
        if decision is None:
            assert state.level == before.level
        else:
            decisions.append(decision)
            assert (decision.before, decision.after) == (before.level, state.level)
            assert (decision.before != decision.after) == (decision.kind in ("lower", "raise"))
            assert decision.reason
            assert decision.load == STEPS[state.level]
        if temperature is None or not -150 <= temperature <= 150:
            assert state.level == before.level
    return state, decisions


@given(st.lists(_HEAT, max_size=120))
@settings(deadline=None, max_examples=150)
def test_at_most_two_changes_in_any_minute(readings: list[tuple[float, float | None, bool, float | None]]) -> None:
    _, decisions = _drive(readings)
    changes = [decision.at_s for decision in decisions if decision.before != decision.after]
    for first, third in zip(changes, changes[2:], strict=False):
        assert third - first > BUDGET_S


@given(st.lists(_HEAT, max_size=60), st.floats(20, 120), st.floats(20, 120), st.floats(0.1, 100))
@settings(deadline=None, max_examples=200)
def test_a_hotter_reading_never_means_more_load(
    readings: list[tuple[float, float | None, bool, float | None]], one: float, other: float, gap_s: float
) -> None:
    state, _ = _drive(readings)
    at_s = (state.last_s or 0.0) + gap_s
    levels = [
        govern(state, Heat(at_s, temperature, 95.0), STEPS, BANDS, "act")[0].level
        for temperature in sorted((one, other))
    ]
    assert levels[0] <= levels[1]


@given(st.lists(_HEAT, max_size=100))
@settings(deadline=None, max_examples=50)
def test_it_recovers_fully_when_it_stays_cool(readings: list[tuple[float, float | None, bool, float | None]]) -> None:
    state, _ = _drive(readings)
    now = state.last_s or 0.0
    # Half an hour at most for the level that failed last, a minute for each of the others.
    for _ in range(round(BANDS.longest_dwell_s + 60 * (len(STEPS) + 2)) // 2):
        now += 2.0
        state, _ = govern(state, Heat(now, 50.0, 95.0, False, 20.0), STEPS, BANDS, "act")
    assert state.level == 0


def _steady(state: State, seconds: int, heat: Heat) -> tuple[State, list[Decision]]:
    decisions = []
    for second in range(1, seconds + 1):
        state, decision = govern(state, replace(heat, at_s=heat.at_s + second), STEPS, BANDS, "act")
        decisions += [decision] if decision else []
    return state, decisions


@pytest.mark.parametrize(("temperature", "level"), [(87.1, 3), (91.9, 3), (92.0, 6), (87.0, 0)])
def test_between_the_bands_nothing_happens(temperature: float, level: int) -> None:
    state, _ = _steady(State(level=3), 200, Heat(0.0, temperature, 95.0))
    assert min(state.level, 6) == level


def test_a_raise_that_failed_is_tried_again_ever_later() -> None:
    state, now, raised = State(level=1), 0.0, []
    for _ in range(2600):
        now += 2.0
        # Level 1 is cool enough, the configured load is always too much.
        temperature = 80.0 if state.level else 92.5
        state, decision = govern(state, Heat(now, temperature, 95.0), STEPS, BANDS, "act")
        raised += [now] if decision and decision.kind == "raise" and decision.after == 0 else []
    gaps = [later - first for first, later in pairwise(raised)]
    assert len(raised) == 6
    assert all(later > 1.2 * first for first, later in pairwise(gaps))
    state, _ = _steady(state, 400, Heat(now, 60.0, 95.0))
    assert state.level == 0


@pytest.mark.parametrize("p99_ms", [81.0, 100.0, 500.0])
def test_latency_near_its_bound_keeps_the_load_from_being_raised(p99_ms: float) -> None:
    state, decisions = _steady(State(level=3), 300, Heat(0.0, 60.0, 95.0, False, p99_ms))
    assert (state.level, decisions) == (3, [])


def test_latency_above_its_bound_lowers_the_load_of_a_hot_device() -> None:
    _, decisions = _steady(State(), 5, Heat(0.0, 88.0, 95.0, False, 101.0))
    assert decisions[0].kind == "lower"
    assert decisions[0].reason == "p99 latency is above its bound and the device is hot (7.0 K below the trip point)"


def test_off_does_nothing_and_old_readings_do_nothing() -> None:
    hot = Heat(10.0, 94.9, 95.0, True)
    assert govern(State(), hot, STEPS, BANDS, "off") == (State(), None)
    state, decision = govern(State(), hot, STEPS, BANDS, "act")
    assert decision is not None
    for at_s in (10.0, 9.0, nan):
        assert govern(state, replace(hot, at_s=at_s), STEPS, BANDS, "act") == (state, None)


@pytest.mark.parametrize(
    ("temperature", "trip", "reason"),
    [(None, 95.0, "temperature unknown"), (50.0, None, "trip point unknown"), (-256.0, 95.0, "temperature absurd")],
)
def test_what_is_unknown_is_said_once(temperature: float | None, trip: float | None, reason: str) -> None:
    state, decisions = _steady(State(level=2), 300, Heat(0.0, temperature, trip, True, 1000.0))
    assert [decision.kind for decision in decisions] == ["blind"]
    assert decisions[0].reason == f"{reason}: the load stays as it is"
    assert state.level == 2


def test_a_margin_alone_is_enough() -> None:
    state, decisions = _steady(State(), 30, Heat(0.0, -2.0, 0.0))
    assert decisions[0].reason == "only 2.0 K below the trip point"
    assert state.level > 0


def test_a_ladder_that_shrinks_is_followed() -> None:
    state, _ = govern(State(level=8), Heat(1.0, 90.0, 95.0), STEPS[:3], BANDS, "act")
    assert state.level == 2
    state, _ = govern(state, Heat(2.0, 90.0, 95.0), (CONFIGURED,), BANDS, "act")
    assert state.level == 0


_SOURCES = st.lists(
    st.builds(SourceLoad, st.sampled_from("abcdefgh"), st.floats(0, 120), st.integers(0, 5)),
    unique_by=lambda source: source.name,
    max_size=8,
)
_ENGINES = st.lists(st.builds(SmallerEngine, st.sampled_from("xyz"), st.floats(0.01, 1.5)), max_size=3)


@given(_SOURCES, _ENGINES)
@settings(deadline=None, max_examples=200)
def test_every_step_is_less_than_the_one_before(sources: list[SourceLoad], engines: list[SmallerEngine]) -> None:
    steps = ladder(sources, engines)
    assert steps[0] == CONFIGURED
    rates = {source.name: source.rate_hz for source in sources}
    top = max((source.priority for source in sources if source.rate_hz > 0), default=0)
    order = [_kind(step) for step in steps]
    assert order == sorted(order)
    for before, after in pairwise(steps):
        assert after.share < before.share
        assert after.interval >= before.interval
    for step in steps:
        assert all(cap <= rates[name] for name, cap in step.caps.items())
        if len({source.priority for source in sources if source.rate_hz > 0}) > 1:
            assert all(source.priority < top for source in sources if source.name in step.caps)


def _kind(load: Load) -> int:
    return 3 if load.engine else 2 if load.interval > 1 else 1 if load.caps else 0


def test_the_declared_order() -> None:
    assert [(round(step.share, 3), step.text) for step in STEPS] == [
        (1.0, "the configured load"),
        (0.917, "50% of the rate of c (priority 0)"),
        (0.875, "25% of the rate of c (priority 0)"),
        (0.708, "50% of the rate of b (priority 1)"),
        (0.625, "25% of the rate of b (priority 1)"),
        (0.312, "one frame in 2 of every source"),
        (0.208, "one frame in 3 of every source"),
        (0.156, "one frame in 4 of every source"),
        (0.094, "the smaller engine m"),
        (0.047, "the smaller engine s"),
    ]
    assert [step.text for step in ladder([SourceLoad("a", 30.0)])][1] == "75% of the rate of every source"
    assert ladder([SourceLoad("a", 0.0)]) == (CONFIGURED,)


@given(st.floats(-2, 2), st.lists(st.floats(-0.5, 0.5), min_size=20, max_size=60), st.data())
@settings(deadline=None, max_examples=80)
def test_the_slope_survives_wrong_readings(true: float, noise: list[float], data: st.DataObject) -> None:
    points = [Warmth(float(index), 50 + true * index + error) for index, error in enumerate(noise)]
    wrong = data.draw(st.sets(st.integers(0, len(points) - 1), max_size=len(points) // 5), label="wrong")
    for index in wrong:
        points[index] = points[index]._replace(temperature_c=data.draw(st.floats(-100, 150)))
    found = slope(points)
    assert found is not None
    assert isclose(found, true, abs_tol=1.0 / (len(points) // 2))


def test_a_slope_wants_enough_readings() -> None:
    points: tuple[Warmth, ...] = ()
    for tenth in range(1000):
        points = extended(points, Warmth(tenth / 10, tenth / 100))
        if tenth < 80:
            assert slope(points) is None
    assert isclose(slope(points) or 0.0, 0.1)
    assert len(points) <= 47
