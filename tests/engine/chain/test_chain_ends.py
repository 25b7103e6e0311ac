# SPDX-License-Identifier: Apache-2.0
"""INT8 builds as people run them, and as they end: killed at every step, without disk, without memory, refused."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.chains import Rig, classifier, write_rig

from edged.engine import memory
from edged.engine.lookup import select
from edged.engine.process import run_build
from edged.engine.protocol import Event, Note, Phase
from edged.engine.store import model_folder, read_current
from edged.errors import DeviceUnavailableError
from edged.graph.prepare import spec_digest
from edged.model_file import load_spec

REPOSITORY = Path(__file__).parents[3]
_FURTHER = 24
ENVIRONMENT = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}", "COLUMNS": "100"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return write_rig(tmp_path)


def command(rig: Rig, *extra: object) -> list[str]:
    words = [sys.executable, "-m", "edged.engine.cli", rig.spec, "--backend", "onnxruntime", "--precision", "int8"]
    words += ["--state-dir", rig.state, "--calibrate", rig.calib, "--evaluate", rig.val, *extra]
    return [str(word) for word in words]


def run(rig: Rig, *extra: object, file_kib: int | None = None) -> subprocess.CompletedProcess[str]:
    words = command(rig, *extra)
    if file_kib is not None:
        words = ["bash", "-c", f"ulimit -f {file_kib}; exec {shlex.join(words)}"]
    return subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60)


def current(rig: Rig) -> dict[str, str]:
    return dict(read_current(model_folder(rig.state, "net")).engines)


def test_a_build_from_the_command_line(rig: Rig) -> None:
    done = run(rig)
    assert (done.returncode, done.stderr) == (0, "")
    for part in ("INT8 was built as asked", "▸  int8 (75%)", "report: /", "current as  onnxruntime/int8", "run it"):
        assert part in done.stdout
    refused = run(rig, "--no-search", "--calibrator", "minmax")
    assert refused.returncode == 65
    assert refused.stderr.count("\n") == 1
    assert "edged-build-engine: " in refused.stderr
    assert "loses 50.0 points, 1 are allowed; most of the error comes from cold" in refused.stderr
    for part in ("No engine was chosen", "would hold: 75% of the multiply-adds", "refused.html"):
        assert part in refused.stdout
    assert set(current(rig)) == {"onnxruntime/int8", "onnxruntime/auto"}


def test_kill_9_at_every_step(rig: Rig) -> None:
    words = [sys.executable, "-m", "support.chain_sweep", str(rig.folder)]
    done = subprocess.run(words, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    steps = json.loads(done.stdout)
    last = [told[-1] for told, _ in steps[:-1]]
    texts = [text for told, _ in steps for text in told]
    assert len(steps) >= 12, "a build tells more than that"
    for name in ("calibrating", "searching", "evaluating int8", "writing the report", "storing"):
        assert any(name in text for text in last), (name, last)
    assert all(not engines for _, engines in steps[:-1]), "nothing is current before all is stored"
    assert any("known from before" in text for text in texts), "calibration is not done twice"
    assert any("built by the build that was ended" in text for text in texts)
    key = steps[-1][1]["onnxruntime/int8"]
    whole = rig._replace(state=rig.folder / "whole")
    assert whole.build()[0].key == key, "the same as without kills"
    found = select(rig.state, "net", spec_digest(load_spec(rig.spec)), "onnxruntime", "int8").require()
    assert found.engine is not None


def interrupted(rig: Rig, sign: str) -> tuple[int, str, str, float]:
    """A build that gets Ctrl-C once it says something; its status, all that it said, and the seconds it took to end."""
    with subprocess.Popen(
        command(rig), env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as builder:
        assert builder.stdout is not None
        said = ""
        for line in builder.stdout:
            said += line
            if sign in line:
                break
        asked = time.monotonic()
        os.killpg(builder.pid, signal.SIGINT)
        _, err = builder.communicate(timeout=30)
    return builder.returncode, said, err, time.monotonic() - asked


def test_ctrl_c_ends_a_build_at_once_and_the_next_goes_on(tmp_path: Path) -> None:
    # So many layers that a search, which ranks all of them, lasts far longer than it takes to be interrupted.
    rig = write_rig(tmp_path, classifier(further=_FURTHER))
    stopped = "edged-build-engine: stopped; the engines are as they were\n"
    code, _, err, took = interrupted(rig, "comparing")
    assert (code, err) == (0, stopped)
    assert took < 5.0
    assert not current(rig)
    code, said, err, _ = interrupted(rig, "comparing")
    assert (code, err) == (0, stopped)
    assert "known from before" in said


@pytest.mark.parametrize("file_kib", [1, 4, 24])
def test_a_full_disk_is_said_and_loses_nothing(rig: Rig, file_kib: int) -> None:
    rig.build(bound=2.0)
    before = current(rig)
    done = run(rig, file_kib=file_kib)
    assert done.returncode == 78, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert "written (File too large)" in done.stderr
    assert current(rig) == before
    found = select(rig.state, "net", spec_digest(load_spec(rig.spec)), "onnxruntime", "int8").require()
    assert found.engine is not None
    assert run(rig).returncode == 0


def test_too_little_memory_is_met_with_less_and_said(rig: Rig) -> None:
    heard: list[Event] = []
    with pytest.raises(DeviceUnavailableError, match=r"the build took more than 20\.0 MiB; allow more: --memory-mb"):
        run_build(rig.request(memory_mb=20), heard.append)
    notes = [event.text for event in heard if isinstance(event, Note)]
    less = [text for text in notes if "once more with less" in text]
    assert len(less) == memory.MOST_THRIFT
    assert "the build took more than 20.0 MiB; once more with less: calibration in portions of 64 MiB" in less[0]
    assert "workspace 512 MiB, optimisation level 2" in less[0]
    assert not current(rig)


def test_a_build_with_less_is_a_build(rig: Rig) -> None:
    heard: list[Event] = []
    done = run_build(rig.request(thrift=memory.MOST_THRIFT), heard.append)
    assert done.built
    assert any(isinstance(event, Phase) and event.name == "calibrating" for event in heard)
    assert memory.portion_bytes(rig.request(thrift=3)) == 4 << 20


@pytest.mark.parametrize(
    ("error", "shortage"),
    [
        (MemoryError(), True),
        (RuntimeError("std::bad_alloc"), True),
        (ValueError("x"), False),
        (DeviceUnavailableError("GPU 0: out of memory"), True),
    ],
)
def test_who_says_that_memory_ran_out(error: Exception, shortage: bool) -> None:
    assert memory.is_shortage(error) == shortage
    outer = ValueError("because")
    outer.__cause__ = error
    assert memory.is_shortage(outer) == shortage
