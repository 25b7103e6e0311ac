# SPDX-License-Identifier: Apache-2.0
"""The monitor in the supervisor, over real rings and a real capture: what it counts, and how it acts on sources."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.daemon import wait_until

from edged.messages import Stats, Thermal
from edged.monitor.governor.loads import SmallerEngine
from edged.monitor.ledger.history import read
from edged.monitor.ledger.sample import Latencies
from edged.monitor.readings import Reading, Sensor
from edged.records import TensorSpec
from edged.runtime import briefing, status
from edged.runtime.briefing import Prepared
from edged.runtime.child import serve
from edged.runtime.launch import ThreadLauncher
from edged.runtime.members import Member
from edged.runtime.monitoring import Monitoring
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup, resolve
from edged.settings import Settings
from edged.shm.board import Board
from edged.shm.frame_table import CAPTURED

FPS = 100
ENVELOPE = {"device": "gate", "boot": "b", "seq": 1, "at": 1.0}
SPEC = 'id = "tiny"\nonnx = "tiny.onnx"\ntask = "raw"\ndecoder = "raw"\n[input]\nsize = [32, 32]\n'


def minimal(spec: Path, state: Path) -> dict[str, Any]:
    """Settings with one source."""
    return {
        "daemon": {"name": "gate", "state_dir": state},
        "sources": [{"name": "north", "uri": f"synthetic://shapes?fps={FPS}&size=32x32&cache=4"}],
        "model": {"spec": spec},
        "publish": {"bind": ["tcp://127.0.0.1:5999"]},
    }


class Hot:
    """A machine so close to its trip point."""

    margin_c = 20.0
    reads = 0

    def read(self) -> Reading:
        self.reads += 1
        sensors = (
            Sensor("gpu-thermal", "temperature", 95.0 - self.margin_c, "celsius"),
            Sensor("gpu-thermal", "margin", self.margin_c, "celsius"),
        )
        return Reading(time.monotonic(), sensors)

    def close(self) -> None:
        pass


class Rig:
    """One source that is captured in a thread, with the monitor that a supervisor would have."""

    def __init__(self, folder: Path, **monitor: Any) -> None:
        (folder / "tiny.onnx").touch()
        (folder / "tiny.toml").write_text(SPEC)
        content = {**minimal(folder / "tiny.toml", folder / "state"), "monitor": {"interval_s": 0.1, **monitor}}
        self.folder = folder
        self.setup: Setup = resolve(Settings.model_validate(content))
        tensor = TensorSpec("y", "float32", (4,))
        engine = {"backend": "onnxruntime", "precision": "fp32", "key": "big", "path": "/g.onnx", "max_batch": None}
        model = {"path": "/g.onnx", "labels": [], "input_size": [32, 32], "fixed_batch": 1, "outputs": [list(tensor)]}
        self.prepared: Prepared = briefing.prepared(self.setup, {"batch": 0, "engine": engine, "model": model})
        self.rings: Rings = briefing.make_rings(self.setup, self.prepared)
        self.machine = Hot()
        self.events: list[tuple[str, str, str, Any]] = []
        self.engines: list[str | None] = []
        self.capture = Member("capture", "north", 0)
        self.monitoring = Monitoring(
            self.setup.settings, self._announce, open_sensors=lambda: self.machine, use_engine=self.engines.append
        )
        self.monitoring.begin(self.setup.sources, self.prepared, [SmallerEngine("small", 0.5)])

    def _announce(self, kind: str, source: str, severity: str, text: str, data: Any = None) -> None:
        self.events.append((kind, severity, text, data))

    def start(self) -> None:
        self.capture.running = ThreadLauncher(serve).start("capture", "north")
        briefing.brief(self.capture, self.setup, self.prepared, self.rings, "boot")
        channel = self.capture.running[1]
        while (note := channel.receive(10.0)) is not None and note.kind != "opened":
            assert note.kind == "hello", note
        self.capture.ready = True

    def look(self, now: float | None = None) -> None:
        now = time.monotonic() if now is None else now
        self.monitoring.look(self.rings, self.setup.sources, self.prepared, [self.capture], now)

    def work(self, seconds: float) -> float:
        """Look for a while; frames captured a second meanwhile."""
        begin, before = time.monotonic(), self.rings.frames[0].words[CAPTURED]
        while time.monotonic() < begin + seconds:
            self.look()
            time.sleep(0.02)
        return float(self.rings.frames[0].words[CAPTURED] - before) / (time.monotonic() - begin)

    def until_rate(self, at_least: float) -> None:
        """Look until so many frames a second are captured: on a busy machine that may take a while."""
        end = time.monotonic() + 10
        while self.work(0.25) < at_least:
            assert time.monotonic() < end, "it never got that fast"

    def until(self, condition: Callable[[], bool], what: str) -> None:
        """Look until something has happened."""
        end = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < end, f"no {what}"
            self.work(0.05)

    def feel(self, margin_c: float) -> None:
        """Have the machine so far from its trip point, and wait until that was read."""
        self.machine.margin_c = margin_c
        reads = self.machine.reads
        # One that has just begun may have the margin of before.
        wait_until(lambda: self.machine.reads >= reads + 2, 10, "reading")

    def pass_time(self, now: float, step_s: float, steps: int) -> float:
        """Look with a clock that runs fast; some frames come between two looks."""
        for _ in range(steps):
            now += step_s
            time.sleep(0.02)
            self.look(now)
        return now

    def close(self) -> None:
        if self.capture.running is not None:
            self.capture.tell("stop")
            self.rings.wake_all()
            assert self.capture.running[0].wait(5.0) == 0
            self.capture.running[1].close()
        self.monitoring.close()
        self.rings.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Callable[..., Rig]]:
    made: list[Rig] = []

    def make(**monitor: Any) -> Rig:
        made.append(Rig(tmp_path, **monitor))
        return made[-1]

    yield make
    for each in made:
        each.close()


def test_heat_caps_a_real_source_then_takes_the_smaller_engine_and_gives_both_back(rig: Callable[..., Rig]) -> None:
    it = rig(governor="act")
    it.start()
    it.until_rate(0.85 * FPS)
    it.work(0.5)
    it.machine.margin_c = 2.5
    it.until(lambda: bool(it.events), "event")
    it.until(lambda: it.work(0.6) < 0.8 * FPS, "lower rate")
    kind, severity, text, data = it.events[0]
    assert (kind, severity, data["acts"], data["level"]) == ("governor-lower", "warning", True, 1)
    assert "only 2.5 K below the trip point" in text
    assert data["share"] == 0.75
    # Everything else is a matter of minutes, which pass here in no time.
    now = it.pass_time(time.monotonic(), 40, 8)
    assert it.engines == ["small"]
    assert it.events[-1][0] == "governor-exhausted"
    it.feel(40.0)
    now = it.pass_time(now, 6, 60)
    assert it.engines == ["small", None]
    assert [event[3]["level"] for event in it.events if event[0] == "governor-raise"][-1] == 0
    it.until_rate(0.85 * FPS)


def test_advice_changes_nothing(rig: Callable[..., Rig]) -> None:
    it = rig(governor="advise")
    it.machine.margin_c = 1.0
    it.start()
    it.until(lambda: bool(it.events), "event")
    it.work(0.6)
    it.until_rate(0.85 * FPS)
    assert [event[3]["acts"] for event in it.events] == [False]
    assert it.engines == []


def test_what_is_told_fits_the_messages_and_the_ledger_goes_on(tmp_path: Path) -> None:
    first = Rig(tmp_path)
    now = time.monotonic() - 200
    for second in range(130):
        first.look(now + second)
        for _ in range(30):
            first.rings.board.tally.add(12_000_000)
    thermal = msgspec.convert({**ENVELOPE, **(first.monitoring.thermal() or {})}, Thermal)
    assert [sensor.value for sensor in thermal.sensors] == [75.0, 20.0]
    windows, sustained = first.monitoring.windows(), first.monitoring.sustained()
    body = status.stats(0.0, [], first.rings, windows=windows, sustained=sustained)
    message = msgspec.convert({**ENVELOPE, **msgspec.to_builtins(body)}, Stats)
    assert message.windows["10m"].rate_hz == pytest.approx(30, rel=0.01)
    latency = message.windows["10m"].latency_ms
    assert isinstance(latency, msgspec.Struct)
    assert (latency.mean, latency.deviation) == (12.0, 0.0)
    assert latency.p99 == pytest.approx(12.0, rel=0.02)
    first.close()
    assert [minute.totals.frames for minute in read(tmp_path / "state" / "ledger")] == [1800, 1800, 240]
    again = Rig(tmp_path)
    again.look(now + 140)
    again.look(now + 141)
    assert again.monitoring.windows()["10m"].frames == 3840
    again.close()


def test_a_publish_process_that_is_replaced_or_a_clock_that_stands_still_counts_nothing_twice(tmp_path: Path) -> None:
    it = Rig(tmp_path)
    tally = it.rings.board.tally
    tally.add(5_000_000)
    now = time.monotonic() - 5
    it.look(now)
    it.look(now + 1)
    again = it.rings.board.tally
    again.add(5_000_000)
    it.look(now + 1)
    it.look(now + 2)
    # The second in which the first frames came is not whole: the record begins behind it.
    again.add(5_000_000)
    it.look(now + 3)
    it.look(now + 4)
    assert it.monitoring.windows()["10m"].frames == 1
    it.close()


def test_other_settings_are_taken_and_another_mode_gives_the_load_back(rig: Callable[..., Rig]) -> None:
    it = rig(governor="act")
    it.machine.margin_c = 1.0
    it.start()
    it.until(lambda: bool(it.events), "event")
    taken = it.monitoring.take(it.setup.settings.monitor.model_copy(update={"governor": "off", "interval_s": 0.2}))
    assert taken == []
    it.until_rate(0.85 * FPS)
    verifying = it.setup.settings.monitor.model_copy(update={"verify_every": 5})
    assert it.monitoring.take(verifying) == ["monitor.verify_every"]


@given(st.lists(st.integers(-5, 10**13), max_size=40), st.lists(st.integers(0, 10**10), max_size=40))
@settings(deadline=None, max_examples=50)
def test_what_was_tallied_since_is_what_came_since(before: list[int], since: list[int]) -> None:
    board = Board.create(1)
    for age in before:
        board.tally.add(age)
    then = board.tally.read()
    for age in since:
        board.tally.add(age)
    found = board.tally.read().since(then)
    wanted = Latencies.of([age // 1000 / 1000 for age in since])
    assert found == wanted._replace(bins=dict(wanted.bins))
    # The rows beside it are untouched.
    assert board.row(0).beats == 0
    board.close()


def test_threads_stay_as_many_as_they_are_at_first(rig: Callable[..., Rig]) -> None:
    before = set(threading.enumerate())

    def ours() -> list[str]:
        return sorted(thread.name for thread in set(threading.enumerate()) - before)

    it = rig()
    assert ours() == ["ledger", "sensors"]
    now = time.monotonic() - 200
    for second in range(130):
        it.look(now + second)
        it.rings.board.tally.add(12_000_000)
    assert ours() == ["ledger", "sensors"]
    it.monitoring.close()
    assert ours() == []
