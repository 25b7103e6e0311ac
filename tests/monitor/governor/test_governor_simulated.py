# SPDX-License-Identifier: Apache-2.0
"""A device that throttles without the governor stays below its trip point with it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.thermal_sim import MAX_AGE_MS, Course, Device, simulate

from edged.monitor.governor.loads import SmallerEngine, SourceLoad, ladder
from edged.monitor.governor.state import Bands, Mode

SOURCES = (SourceLoad("gate", 30.0, 1), SourceLoad("yard", 15.0), SourceLoad("roof", 15.0))
ENGINES = (SmallerEngine("small", 0.4),)
STEPS = ladder(SOURCES, ENGINES)
BOUND_MS = 200.0
BANDS = Bands(p99_bound_ms=BOUND_MS)
HOUR = 3600


def _as_new(_: int) -> float:
    return 1.0


def _failing_fan(second: int) -> float:
    return 0.45 if 600 <= second < 2400 else 1.0


def _course(device: Device, mode: Mode, fan: Callable[[int], float], seconds: int = 2 * HOUR, seed: int = 0) -> Course:
    return simulate(device, SOURCES, ENGINES, STEPS, seconds, mode=mode, bands=BANDS, fan=fan, seed=seed)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("ambient_c", "fan"), [(45.0, _as_new), (40.0, _as_new), (55.0, _as_new), (35.0, _failing_fan)]
)
def test_it_acts_before_the_hardware_does(ambient_c: float, fan: Callable[[int], float], seed: int) -> None:
    alone = _course(Device(ambient_c=ambient_c), "off", fan, seed=seed)
    ruled = _course(Device(ambient_c=ambient_c), "act", fan, seed=seed)
    assert any(alone.throttled)
    assert max(alone.p99_ms) == MAX_AGE_MS
    assert not any(ruled.throttled)
    assert max(ruled.temperatures) < 95.0
    assert max(ruled.p99_ms) <= BOUND_MS
    assert ruled.most_changes() <= 2
    # It settles: tries to raise become rare.
    assert ruled.turns(HOUR) <= 6


def test_after_a_failure_the_configured_load_is_back() -> None:
    ruled = _course(Device(ambient_c=30.0), "act", _failing_fan)
    assert max(ruled.levels) >= 2
    assert ruled.levels[-1] == 0
    back = max(second for second, level in enumerate(ruled.levels) if level)
    assert back < 2400 + 900
    assert all(decision.reason for decision in ruled.decisions)


def test_a_cool_device_is_left_alone() -> None:
    ruled = _course(Device(ambient_c=25.0), "act", _as_new, HOUR)
    assert ruled.decisions == []


def test_advice_changes_nothing_and_comes_once() -> None:
    advised = _course(Device(ambient_c=45.0), "advise", _as_new, 600)
    alone = _course(Device(ambient_c=45.0), "off", _as_new, 600)
    assert advised.temperatures == alone.temperatures
    assert set(advised.levels) == {0}
    (advice,) = advised.decisions
    assert (advice.kind, advice.acts, advice.before, advice.after) == ("lower", False, 0, 1)
    assert advice.at_s < advised.throttled.index(True)


def test_a_sensor_that_vanishes_keeps_the_load() -> None:
    course = simulate(
        Device(ambient_c=45.0),
        SOURCES,
        ENGINES,
        STEPS,
        HOUR,
        bands=BANDS,
        sensor=lambda second, temperature: None if 900 <= second < 1500 else temperature,
    )
    kinds = [decision.kind for decision in course.decisions if decision.at_s >= 900]
    assert kinds[:2] == ["blind", "seeing"]
    assert len(set(course.levels[900:1500])) == 1
    blind = next(decision for decision in course.decisions if decision.kind == "blind")
    assert blind.at_s == 910
    assert blind.reason == "temperature unknown: the load stays as it is"
    assert blind.before == blind.after > 0


def test_when_nothing_is_left_it_says_so_once() -> None:
    course = _course(Device(ambient_c=80.0, temperature_c=80.0, idle_w=12.0), "act", _as_new, 1200)
    assert course.levels[-1] == len(STEPS) - 1
    assert [decision.kind for decision in course.decisions].count("exhausted") == 1


@given(
    st.floats(20, 50),
    st.floats(1.2, 2.6),
    st.floats(50, 300),
    st.floats(10, 28),
    st.floats(0.5, 1.0),
    st.integers(0, 99),
)
@settings(deadline=None, max_examples=25)
def test_whatever_the_device_it_never_oscillates(
    ambient_c: float, resistance: float, capacity: float, busy_w: float, fan: float, seed: int
) -> None:
    def make() -> Device:
        return Device(ambient_c=ambient_c, resistance=resistance, capacity=capacity, busy_w=busy_w)

    ruled = _course(make(), "act", lambda second: fan if second > 300 else 1.0, HOUR, seed)
    assert ruled.most_changes() <= 2
    # What rest and the lowest step need must be coolable, or nothing can help.
    lowest_c = ambient_c + (5.0 + busy_w * STEPS[-1].share) * resistance / fan
    if lowest_c < 85.0:
        assert not any(ruled.throttled)
    assert ruled.turns(HOUR / 2) <= 6
