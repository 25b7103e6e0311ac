# SPDX-License-Identifier: Apache-2.0
"""Replayed machines that slow down: each cause is called by its name, and nothing else is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from support import heat_traces
from support.heat_traces import FALL, WALL, Moment, replay

from edged.messages import Thermal
from edged.monitor import told
from edged.monitor.causes import Finding, explain
from edged.monitor.causes_events import ThrottleEvent, Throttles, advance
from edged.monitor.governed import Governed
from edged.monitor.monitor import Monitor
from edged.monitor.readings import Cause, Reading

Trace = Callable[[Path], list[Moment]]
TRACES: dict[Trace, tuple[Cause, ...]] = {
    heat_traces.orin_heating: (Cause.THERMAL,),
    heat_traces.sensors_vanish: (Cause.NONE_FOUND,),
    heat_traces.power_cap: (Cause.POWER_CAP,),
    heat_traces.hot_gpu: (Cause.THERMAL,),
    heat_traces.over_current_storm: (Cause.OVER_CURRENT,),
    heat_traces.fan_failure: (Cause.THERMAL,),
    heat_traces.mode_switched: (Cause.POWER_MODE,),
    heat_traces.camera_slows: (Cause.INPUT_STARVATION,),
    heat_traces.cpu_taken: (Cause.HOST_CPU, Cause.INPUT_STARVATION),
    heat_traces.heat_and_current: (Cause.THERMAL, Cause.OVER_CURRENT),
    heat_traces.hot_laptop: (Cause.THERMAL,),
}
Played = Callable[[Trace], list[Moment]]
HELD = {Cause.THERMAL, Cause.POWER_CAP, Cause.OVER_CURRENT}


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    """The moments of a trace, played once for all tests that look at it."""
    known: dict[Trace, list[Moment]] = {}

    def play(trace: Trace) -> list[Moment]:
        if trace not in known:
            known[trace] = trace(tmp_path_factory.mktemp("machine"))
        return known[trace]

    return play


@pytest.fixture(scope="module")
def cooled(tmp_path_factory: pytest.TempPathFactory) -> list[Moment]:
    return heat_traces.orin_heating(tmp_path_factory.mktemp("machine"), cool_again=100)


def finding(moments: list[Moment]) -> Finding | None:
    return explain([moment.reading for moment in moments], [moment.figures for moment in moments])


def events(moments: list[Moment]) -> list[ThrottleEvent]:
    state = Throttles()
    found: list[ThrottleEvent] = []
    for moment in moments:
        state, new = advance(state, moment.reading)
        found += new
    return found


@pytest.mark.parametrize(("trace", "causes"), TRACES.items(), ids=lambda each: getattr(each, "__name__", None))
def test_causes_are_named_and_ordered(played: Played, trace: Trace, causes: tuple[Cause, ...]) -> None:
    moments = played(trace)
    assert finding(moments[:FALL]) is None
    found = finding(moments)
    assert found is not None
    assert tuple(named.cause for named in found.causes) == causes, found
    strengths = [named.strength for named in found.causes]
    assert strengths == sorted(strengths, reverse=True)
    assert all(named.evidence for named in found.causes)
    # What holds the clocks down is an event too, within seconds; nothing else is.
    begun = {event.cause: event for event in events(moments) if event.kind == "begin"}
    assert set(begun) == HELD & set(causes)
    assert all(event.at - moments[FALL].reading.at < 12 for event in begun.values())


def evidence(moments: list[Moment]) -> str:
    found = finding(moments)
    assert found is not None
    return found.causes[0].evidence


def test_evidence_has_the_figures(played: Played) -> None:
    text = evidence(played(heat_traces.orin_heating))
    for words in ("gpu-throttle-alert", "cpu-thermal 99.2 °C", "to the slowdown", "gpu 612 MHz, before 1020 MHz"):
        assert words in text


def test_evidence_of_a_fan_that_stands_still(played: Played) -> None:
    assert "the fan is driven at 100 % and stands still" in evidence(played(heat_traces.fan_failure))


def test_evidence_of_a_power_cap_is_the_counter(played: Played) -> None:
    text = evidence(played(heat_traces.power_cap))
    assert "70 % of" in text
    assert "power cap" in text
    assert "698 W of 700 W" in text


def test_evidence_of_a_switched_mode(played: Played) -> None:
    text = evidence(played(heat_traces.mode_switched))
    assert "power mode 1 (MODE_15W), before 0 (MAXN)" in text
    assert "gpu allowed 625 MHz, before 1020 MHz" in text


def test_what_vanished_is_said(played: Played) -> None:
    text = evidence(played(heat_traces.sensors_vanish))
    assert "unknown: cpu-thermal temperature" in text


def test_a_steady_machine_has_no_finding(played: Played) -> None:
    assert finding(played(heat_traces.steady)) is None


def test_a_throttle_begins_and_ends_once(cooled: list[Moment]) -> None:
    moments = cooled
    begin, end = events(moments)
    assert (begin.kind, end.kind) == ("begin", "end")
    assert begin.since == pytest.approx(moments[FALL].reading.at, abs=1)
    assert end.since == begin.since
    assert end.at == pytest.approx(moments[100].reading.at + 30, abs=2)
    assert end.numbers["seconds"] == pytest.approx(40, abs=2)
    assert end.numbers["hottest_celsius"] == pytest.approx(99.2)
    assert "over, after 40 s at work" in end.evidence


def test_a_storm_is_one_event(tmp_path: Path) -> None:
    found = events(heat_traces.over_current_storm(tmp_path, 400))
    assert [event.kind for event in found] == ["begin"]


def test_a_throttle_whose_sensors_vanish_is_given_up_and_not_called_over(played: Played) -> None:
    moments = played(heat_traces.orin_heating)
    blind = [Reading(moments[-1].reading.at + second) for second in range(1, 120)]
    state = Throttles()
    found: list[ThrottleEvent] = []
    for reading in [*(moment.reading for moment in moments), *blind]:
        state, new = advance(state, reading)
        found += new
    begin, end = found
    assert end.at - moments[-1].reading.at == pytest.approx(60, abs=1)
    assert "nothing tells any more" in end.evidence
    assert begin.cause is end.cause is Cause.THERMAL


@pytest.mark.parametrize(
    ("trace", "causes"),
    [(trace, causes) for trace, causes in TRACES.items() if trace is not heat_traces.heat_and_current],
    ids=lambda each: getattr(each, "__name__", None),
)
def test_the_monitor_tells_each_fall_once_with_its_cause(
    played: Played, trace: Trace, causes: tuple[Cause, ...]
) -> None:
    watcher = Monitor(None, "test", 1.0, Governed("off"))
    happened = replay(watcher, played(trace))
    throttles = [cause.value for cause in causes if cause in HELD]
    (fell,) = [each for each in happened if each.kind == "throughput-fell"]
    assert fell.data["cause"] == causes[0].value
    assert [each.data["cause"] for each in happened if each.kind == "throttle-begin"] == throttles
    now = 1000.0 + heat_traces.LONG
    body = told.thermal(watcher, now, WALL + now)
    message = msgspec.convert({**body, "device": "d", "boot": "b", "seq": 1, "at": WALL}, Thermal)
    assert isinstance(message.fallen, msgspec.Struct)
    assert message.fallen.causes[0].cause == causes[0].value
    assert [each.cause for each in message.throttle] == throttles
    assert all(abs(each.since - WALL - 1000 - FALL) < 12 for each in message.throttle)
    minute = told.windows(watcher, now)["1m"]
    # Nothing unknown is 0: a sensor that vanished has no gauge.
    assert ("temperature_c" in minute.gauges) == (trace is not heat_traces.sensors_vanish)
    assert set(minute.held_back_s) == set(throttles)


def test_the_monitor_tells_a_recovery_too(cooled: list[Moment]) -> None:
    happened = replay(Monitor(None, "test", 1.0, Governed("off")), cooled)
    assert [each.kind for each in happened if each.kind.startswith("throughput")] == [
        "throughput-fell",
        "throughput-back",
    ]
