# SPDX-License-Identifier: Apache-2.0
"""The whole monitor over replayed machines: what it tells, keeps and does, and what it makes of silence."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
from support import heat_traces
from support.heat_traces import WALL, Moment, replay
from support.thermal_sim import MAX_AGE_MS, Device

from edged.monitor import told
from edged.monitor.causes_evidence import Level
from edged.monitor.governed import Governed, SourceRate
from edged.monitor.heat import gauges, heat_of
from edged.monitor.ledger.behind import Behind
from edged.monitor.ledger.history import read
from edged.monitor.ledger.sample import Latencies
from edged.monitor.lookout import Lookout
from edged.monitor.monitor import Look, Monitor
from edged.monitor.readings import Cause, Reading, Sensor


def monitor(folder: Path | None = None, mode: str = "off") -> Monitor:
    return Monitor(folder, "test", 1.0, Governed(mode))  # type: ignore[arg-type]  # one of the three


def test_figures_go_on_over_a_restart_and_not_over_another_subject(tmp_path: Path) -> None:
    moments = heat_traces.steady(tmp_path / "machine")
    folder = tmp_path / "ledger"
    first = monitor(folder)
    replay(first, moments[:70])
    first.close()
    second = monitor(folder)
    replay(second, moments[71:])
    now = moments[-1].figures.at
    assert told.windows(second, now)["10m"].covered_s == pytest.approx(117, abs=2)
    second.work_on("another engine")
    replay(second, [Moment(Reading(now + 1), moments[-1].figures._replace(at=now + 1))])
    # What the device did stays; peaks are the new subject's own, which has none yet.
    assert told.windows(second, now + 1)["10m"].covered_s == pytest.approx(118, abs=2)
    assert told.sustained(second, now + 1) is msgspec.UNSET
    second.close()
    assert len({minute.subject for minute in read(folder)}) == 2


def test_silence_of_the_sensors_is_unknown_and_nothing_falls(tmp_path: Path) -> None:
    watcher = monitor()
    moments = [moment._replace(reading=Reading(moment.figures.at)) for moment in heat_traces.steady(tmp_path)]
    blind = [Look(moment.figures.at, WALL, None, Latencies.of([5.0] * 60)) for moment in moments]
    happened = [each for look in blind for each in watcher.look(look)]
    assert happened == []
    body = told.thermal(watcher, blind[-1].at_s, WALL)
    assert "read_at" not in body
    assert (body["sensors"], body["clocks"]) == ([], [])
    assert told.windows(watcher, blind[-1].at_s)["1m"].gauges == {}


def test_what_counts_as_the_heat_of_a_machine() -> None:
    zones = (
        Sensor("cpu-thermal", "temperature", 80.0, "celsius"),
        Sensor("gpu-thermal", "temperature", 70.0, "celsius"),
        Sensor("cpu-thermal", "margin", 19.0, "celsius"),
        Sensor("gpu-thermal", "margin", 9.0, "celsius"),
    )
    heat = heat_of(5.0, Reading(5.0, zones), {}, None)
    assert (heat.temperature_c, heat.trip_c, heat.throttled) == (70.0, 79.0, False)
    discrete = (*zones, Sensor("gpu", "temperature", 60.0, "celsius"))
    # Its margin is unknown; that of the host's zones is another part's.
    heat = heat_of(5.0, Reading(5.0, discrete), {Cause.THERMAL: Level(0.5)}, 7.0)
    assert (heat.temperature_c, heat.trip_c, heat.throttled, heat.p99_ms) == (60.0, None, True, 7.0)
    assert gauges(Reading(5.0, discrete))["temperature_c"] == 60.0
    only = heat_of(5.0, Reading(5.0, (Sensor("gpu", "margin", 4.0, "celsius"),)), {}, None)
    assert (only.temperature_c, only.trip_c) == (-4.0, 0.0)


def rule(device: Device, governed: Governed, seconds: int) -> Iterator[tuple[float, int]]:
    """Let the governor cap the sources of a device, as capture does; p99 and level, second by second."""
    rates = {"gate": 30.0, "yard": 15.0, "roof": 15.0}
    priorities = {"gate": 1, "yard": 0, "roof": 0}
    p99_ms = 0.0
    for second in range(seconds):
        capped = {name: min(hz, governed.caps.get(name, math.inf)) for name, hz in rates.items()}
        p99_ms = device.run(1.0, sum(capped.values()), 1.0, 1.0)
        temperature = round(2 * device.temperature_c) / 2
        sensors = (
            Sensor("gpu-thermal", "temperature", temperature, "celsius"),
            Sensor("gpu-thermal", "margin", device.trip_c - temperature, "celsius"),
        )
        # What is measured is what was let through: the governor has to know what would come without it.
        measured = [SourceRate(name, hz, priorities[name]) for name, hz in capped.items()]
        governed.look(heat_of(float(second), Reading(float(second), sensors), {}, p99_ms), measured)
        yield p99_ms, governed.message.level


def test_it_rules_by_capping_what_it_measures_itself() -> None:
    device = Device(ambient_c=45.0)
    course = list(rule(device, Governed("act", 200.0), 2400))
    levels = [level for _, level in course]
    changes = [second for second in range(1, len(levels)) if levels[second] != levels[second - 1]]
    assert changes
    assert max(sum(0 <= later - first <= 60 for later in changes) for first in changes) <= 2
    assert not device.throttled
    assert max(p99 for p99, _ in course) < 200.0
    assert levels[-1] > 0
    free = Device(ambient_c=45.0)
    assert max(p99 for p99, _ in rule(free, Governed("advise", 200.0), 2400)) == MAX_AGE_MS


def test_a_driver_that_hangs_makes_the_machine_unknown_and_stops_nobody() -> None:
    hang, entered, now = threading.Event(), threading.Event(), [100.0]

    class Driver:
        def read(self) -> Reading:
            if now[0] > 100.0:
                entered.set()
                hang.wait(10.0)
            return Reading(now[0])

        def close(self) -> None:
            pass

    lookout = Lookout(Driver, 0.01, lambda: now[0])
    try:
        until(lambda: lookout.newest() is not None)
        now[0] = 100.02
        assert entered.wait(5.0)
        assert lookout.newest() is not None
        now[0] += lookout.patience_s + 0.1
        assert lookout.newest() is None
    finally:
        hang.set()
        lookout.close()


def test_a_sensor_that_fails_in_an_unforeseen_way_is_logged_once_and_read_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    broken = [True]

    class Sensors:
        def read(self) -> Reading:
            if broken[0]:
                raise ZeroDivisionError("surprise")
            return Reading(0.0)

        def close(self) -> None:
            pass

    lookout = Lookout(Sensors, 0.001, lambda: 0.0)
    try:
        until(lambda: bool(caplog.records))
        broken[0] = False
        until(lambda: lookout.newest() is not None)
    finally:
        lookout.close()
    assert [record.message.count("surprise") for record in caplog.records] == [1]


def until(done: Callable[[], bool]) -> None:
    pause = threading.Event()
    for _ in range(2000):
        if done():
            return
        pause.wait(0.005)
    raise AssertionError("it did not come to that")


def test_lines_behind_are_all_written_and_failures_come_one_call_later(tmp_path: Path) -> None:
    behind = Behind()
    folder = tmp_path / "there"
    for number in range(5):
        behind(folder, b"%d\n" % number)
        assert behind.flush()
    (text,) = [path.read_text() for path in folder.iterdir()]
    assert text == "0\n1\n2\n3\n4\n"
    blocked = tmp_path / "file"
    blocked.write_text("")
    behind(blocked, b"x\n")
    assert behind.flush()
    with pytest.raises(OSError, match=r"directory|exists"):
        behind(folder, b"5\n")
    behind.close()
    assert (folder / "minutes-00000001.log").read_text().endswith("5\n")
