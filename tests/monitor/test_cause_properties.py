# SPDX-License-Identifier: Apache-2.0
"""Whatever the sensors say or leave unsaid: no storm of events, begin and end alternate, the unknown is no cause."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.monitor.causes import explain
from edged.monitor.causes_events import Hysteresis, ThrottleEvent, Throttles, advance
from edged.monitor.causes_evidence import HELD, between, over
from edged.monitor.causes_spans import Thresholds
from edged.monitor.readings import Cause, Clock, Counter, Flag, PowerMode, Reading, Sensor, Throughput

WRAP = 2**32
SLOW = settings(deadline=None, max_examples=60)


def replay(readings: Sequence[Reading]) -> list[ThrottleEvent]:
    state = Throttles()
    events: list[ThrottleEvent] = []
    for reading in readings:
        state, new = advance(state, reading)
        events += list(new)
    return events


@st.composite
def stories(draw: st.DrawFn) -> list[Reading]:
    """Readings in which flags flicker, counters jump, wrap, are reset or unknown, and time leaps or stands still."""
    at, value = 100.0, 0.0
    readings: list[Reading] = []
    for _ in range(draw(st.integers(0, 20))):
        # Runs of one behaviour: chance alone would never keep a throttle up, nor leave it quiet for long.
        flag = draw(st.sampled_from((True, False, None, "flicker")))
        step = draw(st.sampled_from((0.0, 0.7, 1.0, 5.0, -1000.0, 1e9, None)))
        elapsed = draw(st.sampled_from((1.0, 1.0, 1.0, 0.0, -5.0, 300.0)))
        for second in range(draw(st.integers(1, 40))):
            at += elapsed if second == 0 else 1.0
            value = max(0.0, (value + (step or 0.0)) % WRAP)
            now = bool(second % 2) if flag == "flicker" else flag
            flags = () if now is None else (Flag("alert", Cause.THERMAL, bool(now)),)
            events = Counter("oc", Cause.OVER_CURRENT, value, "events")
            counters = () if step is None else (events, Counter("cap", Cause.POWER_CAP, value, "seconds"))
            readings.append(Reading(at, flags=flags, counters=counters))
    return readings


@SLOW
@given(stories())
def test_begin_and_end_alternate(readings: list[Reading]) -> None:
    for cause in HELD:
        kinds = [event.kind for event in replay(readings) if event.cause is cause]
        assert kinds == ["begin", "end"] * (len(kinds) // 2) + ["begin"] * (len(kinds) % 2)


@SLOW
@given(stories())
def test_there_is_no_storm(readings: list[Reading]) -> None:
    for cause in HELD:
        begins = [event.at for event in replay(readings) if event.cause is cause and event.kind == "begin"]
        assert all(later - earlier >= Hysteresis().end_s for earlier, later in pairwise(begins))


@SLOW
@given(stories())
def test_what_goes_on_is_what_has_begun_and_not_ended(readings: list[Reading]) -> None:
    state = Throttles()
    open_causes: set[Cause] = set()
    for reading in readings:
        state, events = advance(state, reading)
        for event in events:
            (open_causes.add if event.kind == "begin" else open_causes.remove)(event.cause)
        assert {throttle.cause for throttle in state.ongoing} == open_causes


@SLOW
@given(st.lists(st.sampled_from((0.0, 5.0, 10.0, float(WRAP - 1))), min_size=2, max_size=60), st.booleans())
def test_counters_that_fall_are_no_event(values: list[float], timed: bool) -> None:
    falling = sorted(values, reverse=True)
    counters = [Counter("c", Cause.THERMAL, value, "seconds" if timed else "events") for value in falling]
    readings = [Reading(float(at), counters=(counter,)) for at, counter in enumerate(counters)]
    assert replay(readings) == []
    assert all(level.share == 0 for level in over(readings).values())


@pytest.mark.parametrize("unit", ["seconds", "events"])
def test_a_counter_that_was_reset_counts_again(unit: str) -> None:
    values = [500.0, 501.0, 0.0, 1.0, 2.0]
    readings = [
        Reading(float(at), counters=(Counter("c", Cause.THERMAL, value, unit),))  # type: ignore[arg-type]
        for at, value in enumerate(values)
    ]
    level = over(readings)[Cause.THERMAL]
    assert level.seconds + level.events == 3.0
    assert level.observed_s == 3.0, "over the reset nothing is known"


def test_a_counter_that_claims_more_time_than_passed_says_nothing() -> None:
    readings = [Reading(float(at), counters=(Counter("c", Cause.THERMAL, at * 9.0, "seconds"),)) for at in range(20)]
    assert over(readings) == {}
    assert replay(readings) == []


def test_a_growing_counter_is_believed_before_its_flag() -> None:
    def reading(at: float, held: float) -> Reading:
        flags = (Flag("bit", Cause.POWER_CAP, True),)
        return Reading(at, flags=flags, counters=(Counter("ns", Cause.POWER_CAP, held, "seconds"),))

    level = between(reading(1.0, 7.0), reading(2.0, 7.25))[Cause.POWER_CAP]
    assert (level.share, level.counted, level.names) == (0.25, True, ("ns",))
    # One that never moves may be one that the driver does not keep: then the bit counts.
    level = between(reading(1.0, 7.0), reading(2.0, 7.0))[Cause.POWER_CAP]
    assert (level.share, level.counted, level.names) == (1.0, False, ("bit",))


@pytest.mark.parametrize(
    ("margin", "cause"),
    [(1.0, Cause.THERMAL), (30.0, Cause.OVER_CURRENT), (None, None)],
    ids=["hot", "cool", "unknown"],
)
def test_a_hardware_slowdown_without_a_reason(margin: float | None, cause: Cause | None) -> None:
    sensors = () if margin is None else (Sensor("gpu", "margin", margin, "celsius"),)
    flags = (Flag("hardware slowdown", None, True),)
    levels = between(Reading(1.0), Reading(2.0, sensors, flags=flags))
    assert set(levels) == ({cause} if cause else set())


def healthy(at: float) -> Reading:
    """A machine at work and at ease."""
    sensors = (
        Sensor("gpu", "temperature", 70.0, "celsius"),
        Sensor("gpu", "margin", 20.0, "celsius"),
        Sensor("gpu", "power", 400.0, "watts"),
        Sensor("gpu", "power_limit", 700.0, "watts"),
        Sensor("gpu", "load", 0.9, "ratio"),
        Sensor("gpu", "clock", 1.9e9, "hertz"),
        Sensor("cpu0", "clock", 2e9, "hertz"),
        Sensor("cpu", "load", 0.95, "ratio"),
        Sensor("pwmfan", "fan", 0.9, "ratio"),
        Sensor("pwm_tach", "fan_speed", 3000.0, "rpm"),
    )
    return Reading(
        at,
        sensors,
        clocks=(Clock("gpu", 1.9e9, 1.9e9, 1.9e9), Clock("cpu0", 2e9, 2e9, 2.2e9)),
        power_w=400.0,
        power_limit_w=700.0,
        flags=tuple(Flag(cause.value, cause, False) for cause in HELD),
        counters=(
            Counter("therm", Cause.THERMAL, 3.0, "seconds"),
            Counter("oc", Cause.OVER_CURRENT, 30.0, "events"),
            Counter("pressure", Cause.HOST_CPU, 0.2 * at, "seconds"),
        ),
        power_mode=PowerMode(0, "MAXN"),
    )


def masked(reading: Reading, mask: int) -> Reading:
    """The same with some of it unknown."""
    bits = iter(bool(mask >> bit & 1) for bit in range(64))
    return replace(
        reading,
        sensors=tuple(sensor for sensor in reading.sensors if next(bits)),
        clocks=tuple(clock for clock in reading.clocks if next(bits)),
        flags=tuple(flag for flag in reading.flags if next(bits)),
        counters=tuple(counter for counter in reading.counters if next(bits)),
        power_mode=reading.power_mode if next(bits) else None,
    )


@SLOW
@given(st.lists(st.integers(0, 2**20 - 1), min_size=1, max_size=60), st.floats(0.0, 0.9))
def test_what_is_unknown_is_no_cause(masks: list[int], ratio: float) -> None:
    readings = [masked(healthy(float(at)), masks[at % len(masks)]) for at in range(60)]
    figures = [Throughput(float(at), 100.0 if at < 40 else 100.0 * ratio) for at in range(60)]
    found = explain(readings, figures)
    assert found is not None
    assert [named.cause for named in found.causes] == [Cause.NONE_FOUND]
    assert replay(readings) == []


@SLOW
@given(st.lists(st.floats(97.0, 103.0), max_size=100))
def test_noise_is_no_fall(rates: list[float]) -> None:
    assert explain([], [Throughput(float(at), hz) for at, hz in enumerate(rates)], Thresholds(fell=0.06)) is None


def test_without_any_reading_the_figures_alone_tell() -> None:
    def told(idle: float) -> tuple[Cause, ...]:
        figures = [Throughput(float(at), 60.0, 60.0, 0.05) for at in range(40)]
        figures += [Throughput(float(at), 30.0, 30.0, idle) for at in range(40, 60)]
        found = explain([], figures)
        assert found is not None
        return tuple(named.cause for named in found.causes)

    assert told(0.5) == (Cause.INPUT_STARVATION,)
    assert told(0.05) == (Cause.NONE_FOUND,), "a lossless source waits for a slow device: fewer frames come then too"


def test_a_cap_that_was_there_at_the_best_throughput_explains_nothing() -> None:
    def reading(at: int) -> Reading:
        return replace(healthy(float(at)), flags=(Flag("cap", Cause.POWER_CAP, True),))

    figures = [Throughput(float(at), 100.0 if at < 40 else 60.0) for at in range(60)]
    found = explain([reading(at) for at in range(60)], figures)
    assert found is not None
    assert [named.cause for named in found.causes] == [Cause.NONE_FOUND]


def test_a_mode_that_holds_all_the_time_is_told_but_no_cause() -> None:
    def reading(at: int) -> Reading:
        clocks = (Clock("gpu", 612e6, 612e6, 1020e6),)
        return replace(healthy(float(at)), clocks=clocks, power_mode=PowerMode(1, "MODE_15W"))

    figures = [Throughput(float(at), 100.0 if at < 40 else 60.0) for at in range(60)]
    found = explain([reading(at) for at in range(60)], figures)
    assert found is not None
    assert found.ratio == pytest.approx(0.6)
    assert "gpu may run at 612 MHz of 1020 MHz all the time (power mode 1 (MODE_15W))" in found.causes[0].evidence


def test_a_blink_is_no_event() -> None:
    readings = [Reading(float(at), flags=(Flag("alert", Cause.THERMAL, at == 5),)) for at in range(60)]
    assert replay(readings) == []


def test_a_reading_that_is_not_later_is_ignored() -> None:
    flags = (Flag("alert", Cause.THERMAL, True),)
    state, _ = advance(Throttles(), Reading(10.0, flags=flags))
    for at in (10.0, 3.0):
        assert advance(state, Reading(at, flags=flags)) == (state, ())


def test_over_a_gap_nothing_was_seen() -> None:
    def readings(first: int, last: int, active: bool) -> list[Reading]:
        return [Reading(float(at), flags=(Flag("alert", Cause.THERMAL, active),)) for at in range(first, last)]

    # Five minutes without a reading end nothing; thirty quiet seconds that were seen do.
    kinds = [event.kind for event in replay(readings(0, 10, True) + readings(300, 320, False))]
    assert kinds == ["begin"]
    kinds = [event.kind for event in replay(readings(0, 10, True) + readings(300, 340, False))]
    assert kinds == ["begin", "end"]


@pytest.mark.parametrize("told", [True, False])
def test_a_draw_near_the_limit_is_a_cause_only_where_the_hardware_does_not_tell(told: bool) -> None:
    def reading(at: int) -> Reading:
        power, clock = (690.0, 1.5e9) if at >= 40 else (600.0, 1.9e9)
        values = {"power": power, "clock": clock}
        sensors = [
            sensor._replace(value=values.get(sensor.kind, sensor.value)) if sensor.name == "gpu" else sensor
            for sensor in healthy(float(at)).sensors
        ]
        flags = (Flag("cap", Cause.POWER_CAP, False),) if told else ()
        return replace(healthy(float(at)), sensors=tuple(sensors), flags=flags)

    figures = [Throughput(float(at), 100.0 if at < 40 else 60.0) for at in range(60)]
    found = explain([reading(at) for at in range(60)], figures)
    assert found is not None
    assert [named.cause for named in found.causes] == [Cause.NONE_FOUND if told else Cause.POWER_CAP]
