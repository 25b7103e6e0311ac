# SPDX-License-Identifier: Apache-2.0
"""``engine.build = "on-start"`` with the whole daemon, on ONNX Runtime and a model that needs a built engine."""

from __future__ import annotations

import errno
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.daemon import START_S, Daemon, command_line, predictions, wait_until
from support.engines import write_model
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, strange_lines

from edged.check import run_check
from edged.engine.store import model_folder, read_current
from edged.errors import EngineError
from edged.graph.prepare import FOLDER, REPORT_FILE, spec_digest
from edged.messages import Prediction
from edged.model_file import load_spec

BUILDER = "edged.engine.build_main"


def settings(spec: Path, **engine: Any) -> dict[str, Any]:
    return {
        "model": {"spec": str(spec)},
        "engine": {"backend": "onnxruntime", "precision": "int8", "build": "on-start", "max_batch": 1, **engine},
    }


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    """A model with Q/DQ nodes: for ONNX Runtime, int8 takes an engine that was built."""
    return write_model(tmp_path / "models", quantized=True)


def builders(daemon: Daemon) -> Iterator[int]:
    """Processes that build for a daemon."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and command_line(int(entry.name))[-3:-1] == [BUILDER, str(daemon.process.pid)]:
            yield int(entry.name)


class Pause:
    """Holds a daemon's build where it has taken the store and is about to look for the prepared graph.

    The report of the cache is a pipe: whoever reads it stands still until the writing end is closed.
    """

    def __init__(self, daemon: Daemon, spec: Path) -> None:
        self._daemon = daemon
        self._pipe = daemon.folder / "state" / FOLDER / spec_digest(load_spec(spec)) / REPORT_FILE
        self._pipe.parent.mkdir(parents=True)
        os.mkfifo(self._pipe)
        self._end = -1

    def wait(self) -> int:
        """Start the daemon and wait until its builder stands still; returns the builder's process id."""
        self._daemon.start()
        wait_until(self._is_read, START_S, "build")
        self._pipe.unlink()
        (builder,) = builders(self._daemon)
        os.kill(builder, signal.SIGSTOP)
        return builder

    def _is_read(self) -> bool:
        assert self._daemon.process.poll() is None, self._daemon.output
        try:
            self._end = os.open(self._pipe, os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno != errno.ENXIO:  # nobody reads yet
                raise
        return self._end >= 0

    def end(self) -> None:
        """Let the build go on. Harmless twice."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1


Hold = Callable[[Daemon], tuple[int, Pause]]


@pytest.fixture
def hold(spec: Path) -> Iterator[Hold]:
    """Starts a daemon and has its building process stand still in the middle."""
    pauses: list[Pause] = []

    def start(daemon: Daemon) -> tuple[int, Pause]:
        pauses.append(Pause(daemon, spec))
        return pauses[-1].wait(), pauses[-1]

    yield start
    for pause in pauses:
        pause.end()


def first_prediction(daemon: Daemon) -> Prediction:
    with daemon.subscriber("v1/predictions/") as subscriber:
        received = next(predictions(subscriber))
    assert isinstance(received.message, Prediction)
    return received.message


def engines(daemon: Daemon) -> dict[str, str]:
    return read_current(model_folder(daemon.folder / "state", "tiny")).engines


def test_the_engine_is_built_once_and_then_runs(daemons: StartDaemon, spec: Path) -> None:
    daemon = daemons(settings(spec)).start()
    first = first_prediction(daemon)
    key = engines(daemon)["onnxruntime/int8"]
    assert (first.model.engine, first.model.backend, first.model.precision) == (key, "onnxruntime", "int8")
    assert daemon.stop().code == 0
    said = daemon.output
    assert "no int8 onnxruntime engine has been built for model tiny" in said
    assert "s: preparing the model" in said
    assert f"{key}" in said
    assert_ended_clean(daemon)
    daemon.log.unlink()
    assert first_prediction(daemon.start()).model.engine == key
    assert daemon.stop().code == 0
    assert "looking for the engine" in daemon.output
    assert "preparing the model" not in daemon.output
    assert set(engines(daemon).values()) == {key}
    assert_ended_clean(daemon)


def test_no_engine_is_built_where_the_prepared_graph_is_what_was_asked_for(daemons: StartDaemon, spec: Path) -> None:
    daemon = daemons(settings(spec, precision="auto")).start()
    assert first_prediction(daemon).model.precision == "fp32"
    assert daemon.stop().code == 0
    assert "preparing the model" not in daemon.output
    assert engines(daemon) == {}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_the_build_at_once(daemons: StartDaemon, spec: Path, hold: Hold, number: int) -> None:
    daemon = daemons(settings(spec))
    hold(daemon)
    ended = daemon.stop(number, group=number == signal.SIGINT)
    assert ended.code == 0
    assert ended.seconds < 2
    assert list(builders(daemon)) == []
    assert "stopped while building" in daemon.output
    assert engines(daemon) == {}
    assert not [path for path in model_folder(daemon.folder / "state", "tiny").iterdir() if path.name != ".lock"]
    assert_ended_clean(daemon)


def test_a_daemon_killed_while_building_takes_the_builder_with_it(daemons: StartDaemon, spec: Path, hold: Hold) -> None:
    daemon = daemons(settings(spec))
    hold(daemon)
    daemon.process.kill()
    assert daemon.wait(10) == -signal.SIGKILL
    wait_until(lambda: not list(builders(daemon)), 5, "end of the builder")
    daemon.start()
    assert first_prediction(daemon).model.precision == "int8"
    assert daemon.stop().code == 0


def test_a_builder_that_is_killed_ends_the_daemon_in_one_line(daemons: StartDaemon, spec: Path, hold: Hold) -> None:
    daemon = daemons(settings(spec))
    builder, _ = hold(daemon)
    os.kill(builder, signal.SIGKILL)
    assert daemon.wait(10) == 70
    (line,) = strange_lines(daemon)
    assert line.startswith("edged: building: the building process was killed by signal 9")
    assert engines(daemon) == {}


def test_a_second_instance_is_refused_before_it_builds(daemons: StartDaemon, spec: Path, hold: Hold) -> None:
    first = daemons(settings(spec))
    builder, pause = hold(first)
    second = daemons({**settings(spec), "publish": {"bind": [first.endpoint]}}).start()
    begin = time.monotonic()
    assert second.wait(10) == 75
    assert time.monotonic() - begin < 5
    assert "already in use by the edged daemon" in second.output
    assert "looking for the engine" not in second.output
    pause.end()
    os.kill(builder, signal.SIGCONT)
    assert first_prediction(first).model.precision == "int8"
    assert first.stop().code == 0


def test_what_keeps_the_engine_from_being_built_ends_the_daemon(daemons: StartDaemon, tmp_path: Path) -> None:
    """A build that is refused, a broken model, and a backend that is not there: the build's own line and exit code."""
    plain = write_model(tmp_path / "plain")
    broken = write_model(tmp_path / "broken", quantized=True)
    broken.with_suffix(".onnx").write_bytes(b"junk")
    cases = [
        (daemons(settings(plain)), 78, "the graph holds no Q/DQ nodes"),
        (daemons(settings(broken)), 78, "tiny.onnx: "),
        (daemons(settings(plain, backend="tensorrt")), 69, "engine.backend: the tensorrt backend is not available"),
    ]
    for daemon, _, _ in cases:
        daemon.start()
    for daemon, code, words in cases:
        assert daemon.wait(30) == code, daemon.output
        (line,) = strange_lines(daemon)
        assert line.startswith("edged: ")
        assert words in line
        assert engines(daemon) == {}
        assert daemon.children() == []


def test_a_check_foresees_the_build(daemons: StartDaemon, spec: Path) -> None:
    daemon = daemons(settings(spec))
    said: list[str] = []
    assert run_check(daemon.config, [], {}, as_json=False, show=said.append) == 0
    assert "runs on         onnxruntime int8, not built yet" in said[-1]
    assert "edged run builds the engine first: no int8 onnxruntime engine has been built for model tiny" in said[-1]
    assert engines(daemon) == {}
    with pytest.raises(EngineError, match="no int8 onnxruntime engine has been built"):
        run_check(daemon.config, ["--engine.build", "never"], {}, as_json=False, show=said.append)
