# SPDX-License-Identifier: Apache-2.0
"""``edged bench`` as people call it, on ONNX Runtime."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from bench.bench_rig import SPEC

from edged.bench.report import Report
from edged.cli import main

REPO = SPEC.parents[2]
QUICK = ("--seconds", "0.2", "--rounds", "2", "--backend", "onnxruntime")
QUICKER = ("--seconds", "0.05", "--batch", "2")


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("EDGED_")]:
        monkeypatch.delenv(name)
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    # The bench puts back what it replaced.
    assert {number: signal.getsignal(number) for number in before} == before


def bench(tmp_path: Path, *flags: str) -> int:
    return main(["bench", str(SPEC), "--state-dir", str(tmp_path / "state"), *QUICK, *flags])


def report_of(path: Path) -> Report:
    content = path.read_bytes()
    jsonschema.validate(json.loads(content), msgspec.json.schema(Report))
    return msgspec.json.decode(content, type=Report)


def test_the_whole_of_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    code = bench(tmp_path, "--batch", "2", "--json", str(path))
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    report = report_of(path)
    assert report.complete
    assert report.schema == "edged.bench/1"
    (found,) = report.contestants
    assert [(it.level, it.batch) for it in found.measurements] == [
        (level, 2) for level in ("engine", "pipeline", "pipeline-single")
    ]
    assert [run.slots for run in found.slot_runs] == [1, 2, 3]
    daemon = found.daemon
    assert daemon is not None
    # A round of 0.2 s in which a busy machine lets the daemon publish nothing is left out; one may be slow.
    assert 1 <= len(daemon.frames_per_s.rounds) <= 2
    assert daemon.frames_per_s.high > 10
    assert {"decode", "infer", "postprocess", "send"} <= set(daemon.stages)
    assert daemon.capture_per_s is not None
    assert daemon.capture_per_s > daemon.frames_per_s.median
    live = daemon.live
    assert live is not None
    assert 0 < live.age_ms.p50 < 500
    assert 0 < live.published_per_s < 45
    assert found.verdict is not None
    for words in ("engine alone", "pipeline, 1 at a time", "verdict:", "recommended:", "capture alone", "live: "):
        assert words in out


def test_two_side_by_side(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    flags = ("--what", "engine,pipeline", *QUICKER, "--against", "onnxruntime/fp32", "--json", str(path))
    assert bench(tmp_path, *flags) == 0
    report = report_of(path)
    assert [it.label for it in report.contestants] == ["shapes", "onnxruntime/fp32"]
    compared = [(it.level, it.batch, it.winner) for it in report.comparisons]
    assert compared == [("engine", 2, None), ("pipeline", 2, None)]
    assert all(len(it.ratio.rounds) == 2 for it in report.comparisons)
    assert "side by side\n  engine alone, batch 2: too few rounds to tell" in capsys.readouterr().out


def test_the_schema_in_the_documents_is_this_one() -> None:
    command = [sys.executable, str(REPO / "tools" / "make_bench_schema.py"), "--check"]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


def test_the_picture_marks_where_the_device_is_full(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "bench.svg"
    assert bench(tmp_path, "--what", "engine", "--sweep", "--seconds", "0.05", "--plot", str(picture)) == 0
    assert "<- saturated" in capsys.readouterr().out
    # Text is drawn as outlines, each with the text in a comment.
    assert re.search(r"<!-- shapes: saturated from batch \d+ -->", picture.read_text())
    assert ET.parse(picture).getroot().tag.endswith("svg")


def test_json_to_stdout_leaves_it_to_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(tmp_path, "--what", "engine", "--batch", "1", "--json", "-") == 0
    out, err = capsys.readouterr()
    report = msgspec.json.decode(out, type=Report)
    assert report.options.batches == (1,)
    assert not report.contestants[0].batches("pipeline")
    assert "engine alone" in err


def test_checks_decide_the_exit_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--what", "engine,pipeline", *QUICKER, "--check-ratio", "0.01")
    assert bench(tmp_path, *flags, "--check-rate", "1") == 0
    assert bench(tmp_path, *flags, "--check-rate", "1e9", "--check-p99", "5") == 1
    out = capsys.readouterr().out
    assert "MISSED: pipeline, frames/s: " in out
    assert "MISSED: live age p99, ms: not measured, wanted at most 5" in out
    assert "engine alone: " not in out.partition("MISSED")[2]


def test_layers_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "bench.json"
    assert bench(tmp_path, "--what", "engine", "--batch", "1", "--layers", "--json", str(path)) == 0
    layers = report_of(path).contestants[0].layers
    assert layers is not None
    assert layers["layers"]
    assert "layers of a batch of" in capsys.readouterr().out


def test_ctrl_c_shows_what_there_is_and_leaves_nothing_running(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edged", "bench", str(SPEC), "--state-dir", str(tmp_path), "--batch", "1"]
    flags = ["--seconds", "0.2", "--rounds", "4", "--what", "engine,daemon", "--backend", "onnxruntime"]
    environment = {**os.environ, "PYTHONPATH": str(REPO), "COLUMNS": "200"}
    with subprocess.Popen(
        [*command, *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        end = time.monotonic() + 60
        # The daemon is its child: the engine was measured by then.
        while not _children(process.pid) and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(0.02)
        (daemon,) = _children(process.pid)
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (130, "")
    assert "engine alone" in out
    assert "incomplete: this is what was measured so far" in out
    assert not Path(f"/proc/{daemon}").exists()


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"edged.bench.tied" in words and str(pid).encode() in words:
            found.append(int(path.parent.name))
    return found


def test_a_daemon_that_cannot_start_is_told_after_what_was_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ("--what", "engine,daemon", "--batch", "1", "--source", f"file://{tmp_path}/nothing.mp4")
    assert bench(tmp_path, *flags) == 78
    out, err = capsys.readouterr()
    assert "engine alone" in out
    assert err.count("\n") == 1
    assert "nothing.mp4" in err


USAGE: list[tuple[list[str], int, str]] = [
    ([], 64, "what is to be measured?"),
    (["x.toml", "--what", "magic"], 64, "expected some of engine,pipeline,daemon, found magic"),
    (["x.toml", "--batch", "0"], 64, "expected numbers from 1 to 1024"),
    (["x.toml", "--batch", "1", "--sweep"], 64, "not allowed with argument"),
    (["x.toml", "--rounds", "0"], 64, "expected a number from 1"),
    (["x.toml", "--seconds", "nan"], 64, "expected a number above 0"),
    (["x.toml", "--swep"], 64, "did you mean --sweep?"),
    (["x.toml", "y.toml"], 64, "takes no argument y.toml"),
    (["x.toml", "--engine.slos", "3"], 64, "did you mean --engine.slots?"),
    (["x.toml", "--slots", "99"], 78, "engine.slots"),
    (["none.toml"], 78, "none.toml: model spec not found; give the right path; a model spec"),
]


@pytest.mark.parametrize(("flags", "code", "words"), USAGE, ids=[" ".join(flags) or "none" for flags, _, _ in USAGE])
def test_wrong_use(flags: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", *flags]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1
    assert words in err


def test_settings_may_stand_before_the_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags: list[Any] = ["--engine.slots", "3", str(SPEC), "--engine.threads=1", "--what", "engine", "--batch", "1"]
    assert main(["bench", *flags, "--state-dir", str(tmp_path), *QUICK]) == 0
    assert "3 slots" in capsys.readouterr().out
