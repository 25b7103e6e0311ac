# SPDX-License-Identifier: Apache-2.0
"""``edged-build-engine`` as people run it: real processes, ended in every way."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from rich.console import Console
from support.engines import Heard, request, write_model

from edged.engine.cli import main
from edged.engine.lookup import select
from edged.engine.process import BuildStoppedError, run_build
from edged.engine.progress import Display
from edged.engine.protocol import Done, Event, Failed, Note, Phase, Step, from_line, to_line
from edged.engine.source import field_changes
from edged.engine.store import model_folder, read_current
from edged.errors import EngineError, InternalError, ModelError
from edged.errors import EngineError as GpuEngineError
from edged.gpu.errors import GpuLostError, GpuMemoryError
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec

REPOSITORY = Path(__file__).parents[2]
CLI = [sys.executable, "-m", "edged.engine.cli"]


def start(*arguments: object) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(
        [*CLI, *map(str, arguments)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def ours(state: Path) -> list[str]:
    """Command lines of processes that still have to do with a state folder, or build for this process."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(state) in line:
            found.append(line)
    return found


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    return write_model(tmp_path / "models")


def test_build_explain_change_explain(spec: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    state = ["--state-dir", str(tmp_path), "--backend", "onnxruntime"]
    assert main(["explain", str(spec), *state]) == 78
    assert "never built" in capfd.readouterr().out
    assert main([str(spec), *state]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    assert f"edged run --config FILE --model.spec {spec} --engine.backend onnxruntime" in out
    assert "current as  onnxruntime/fp32, onnxruntime/auto" in out
    assert main(["explain", str(spec.with_suffix(".onnx")), *state]) == 0
    out = capfd.readouterr().out
    assert "onnxruntime/auto  valid here" in out
    assert "built so far for tiny:\nonnxruntime/auto, onnxruntime/fp32  file " in out
    spec.write_text(spec.read_text().replace("0.25", "0.75"))
    assert main(["explain", str(spec), *state]) == 78
    out = capfd.readouterr().out
    assert "onnxruntime/auto  not valid here" in out
    assert "input.std of the model spec: built for [0.5, 0.25, 0.5], here [0.5, 0.75, 0.5]" in out
    assert f"build it again    edged-build-engine {spec} --backend onnxruntime --state-dir {tmp_path}" in out


def test_what_changed_in_a_spec() -> None:
    old = {"input": {"size": [1, 2], "pad": 0}, "id": "a"}
    changes = field_changes(old, {"input": {"size": [1, 3], "pad": 0}, "id": "a", "task": "raw"})
    assert [str(change) for change in changes] == [
        "input.size of the model spec: built for [1, 2], here [1, 3]",
        "task of the model spec: built for None, here raw",
    ]


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["none.toml"], 78, "edged-build-engine: {cwd}/none.toml: model spec not found; give the right path; a"),
        (["explain", "none.toml"], 78, "{cwd}/none.toml: model spec not found; give the right path; a"),
        (["none.onnx"], 78, "edged-build-engine: none.onnx: an ONNX file alone"),
        (["{spec}", "--frobnicate"], 64, "edged-build-engine: unknown flag --frobnicate"),
        (["{spec}", "--precision", "int8"], 78, "comes with calibration"),
        (["{spec}", "--config", "none.toml"], 78, "none.toml: settings file not found"),
        (["{spec}", "--state-dir", "/proc/none"], 78, "/proc/none/engines/tiny"),
    ],
)
def test_errors_are_one_line_with_the_right_exit_code(
    spec: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.setenv("EDGED_DAEMON__STATE_DIR", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    assert main([argument.format(spec=spec) for argument in arguments]) == code
    err = capfd.readouterr().err
    assert err.count("\n") == 1, err
    assert words.format(cwd=tmp_path) in err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_a_build_stops_as_asked_and_leaves_the_store_as_it_was(spec: Path, tmp_path: Path, ending: int) -> None:
    arguments = (spec, "--state-dir", tmp_path, "--backend", "onnxruntime", "--force")
    with start(*arguments) as builder:
        assert builder.communicate(timeout=30)[1] == ""
    before = read_current(model_folder(tmp_path, "tiny")).engines
    for _ in range(4):
        with start(*arguments) as builder:
            assert builder.stdout is not None
            assert "preparing the model" in builder.stdout.readline()
            asked = time.monotonic()
            os.killpg(builder.pid, ending)
            _, err = builder.communicate(timeout=30)
            took = time.monotonic() - asked
        if err:
            break  # else it was done before it was asked: this process may have to wait for a core
    assert err == "edged-build-engine: stopped; the engines are as they were\n"
    assert builder.returncode == 0
    assert took < 5.0
    assert not ours(tmp_path)
    assert read_current(model_folder(tmp_path, "tiny")).engines == before
    assert not [path for path in model_folder(tmp_path, "tiny").iterdir() if path.name.startswith(".")]


def test_kill_9_of_whole_builds_leaves_engines_that_run(spec: Path, tmp_path: Path) -> None:
    chance = random.Random(1)
    digest = spec_digest(load_spec(spec))
    for _ in range(3):
        builder = start(spec, "--state-dir", tmp_path, "--backend", "onnxruntime", "--force")
        with builder:
            assert builder.stdout is not None
            builder.stdout.readline()
            time.sleep(chance.uniform(0.0, 0.6))
            builder.kill()
        deadline = time.monotonic() + 5
        while ours(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not ours(tmp_path), "the building child outlives the builder"
        selection = select(tmp_path, "tiny", digest, "onnxruntime").require()
        assert selection.missing is None
    assert main([str(spec), "--state-dir", str(tmp_path), "--backend", "onnxruntime"]) == 0
    assert select(tmp_path, "tiny", digest, "onnxruntime").require().engine is not None


def test_a_build_can_be_stopped_by_a_descriptor_and_may_die(spec: Path, tmp_path: Path) -> None:
    reader, writer = os.pipe()

    class Stop:
        def fileno(self) -> int:
            return reader

    def stop_then(_event: Event) -> None:
        os.write(writer, b"!")

    with pytest.raises(BuildStoppedError):
        run_build(request(spec, tmp_path), stop_then, Stop())
    os.close(reader)
    os.close(writer)

    def kill_child(_event: Event) -> None:
        children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
        for child in children:
            if b"edged.engine.build_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(int(child), signal.SIGKILL)

    with pytest.raises(InternalError, match="the building process was killed by signal 9"):
        run_build(request(spec, tmp_path), kill_child)
    heard = Heard()
    assert run_build(request(spec, tmp_path, backend="onnxruntime"), heard).built
    assert heard.of(Phase)


def test_events_and_errors_cross_the_process_boundary() -> None:
    events: list[Event] = [
        Phase("a"),
        Step("b", 1, 2, "c"),
        Note("d\ne"),
        Done("m", "k", "f", True, ("x",)),
        Failed.of(ModelError("w", where="h", remedy="r"), "trace"),
    ]
    for event in events:
        line = to_line(event)
        assert line.count(b"\n") == 1
        assert from_line(line) == event
    error = Failed.of(ModelError("w", where="h", remedy="r")).error()
    assert (type(error), str(error)) == (ModelError, "h: w; r")
    assert type(Failed.of(GpuEngineError("x")).error()) is EngineError
    for gpu_error, code in ((GpuMemoryError("x"), 69), (GpuLostError("x"), 75)):
        assert Failed.of(gpu_error).error().exit_code == code


def test_the_display_on_a_terminal_and_elsewhere() -> None:
    for terminal in (True, False):
        text = io.StringIO()
        with Display(Console(file=text, force_terminal=terminal, width=80)) as display:
            display.show(Phase("building [it]"))
            display.show(Step("Tactics", 0, 4))
            display.show(Step("Timing", 1, 9, "Tactics"))
            display.show(Step("Timing", 9, 0, "Tactics"))
            display.show(Step("Tactics", 2, 4))
            display.show(Note("a note [of] it"))
            display.show(Phase("storing"))
        shown = text.getvalue()
        for part in ("building [it]", "a note [of] it", "storing"):
            assert part in shown
        assert ("2/4" in shown) == terminal
    silent, loud = io.StringIO(), io.StringIO()
    failed = Failed("InternalError", "w", "h", "r", "Traceback: here")
    Display(Console(file=silent)).show(failed)
    Display(Console(file=loud), tracebacks=True).show(failed)
    assert (silent.getvalue(), loud.getvalue()) == ("", "Traceback: here\n")
