# SPDX-License-Identifier: Apache-2.0
"""The command line: exit codes, one line on stderr, what check and tail print."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edged import __version__
from edged.cli import main

SECRET = "hunter2"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a configuration that is right: a tiny model, a camera and a folder of pictures."""
    for name in [name for name in os.environ if name.startswith("EDGED_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.png").write_bytes(cv2.imencode(".png", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    write_model(tmp_path / "tiny.onnx")
    (tmp_path / "tiny.toml").write_text(
        'id = "tiny"\nonnx = "tiny.onnx"\ntask = "raw"\ndecoder = "raw"\n[input]\nsize = [32, 32]\n'
    )
    (tmp_path / "edged.toml").write_text(
        f'[[sources]]\nname = "north"\nuri = "rtsp://user:{SECRET}@camera.example/stream"\n'
        f'[[sources]]\nname = "album"\nuri = "dir://{tmp_path}/photos"\n'
        '[model]\nspec = "tiny.toml"\n[publish]\nbind = ["tcp://127.0.0.1:5999"]\n'
    )
    return tmp_path


def write_model(path: Path) -> None:
    """Mean over height and width: [N, 3, 32, 32] to [N, 3]."""
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["x"], ["y"], axes=[2, 3], keepdims=0)],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 32, 32])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def check(folder: Path, *flags: str) -> int:
    return main(["check", "--config", str(folder / "edged.toml"), *flags])


def refused(capsys: pytest.CaptureFixture[str]) -> str:
    """The one line on stderr."""
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    assert err.startswith("edged: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    assert "Traceback" not in err
    return err[len("edged: ") : -1]


USAGE = [
    ([], "no command given; see edged --help"),
    (["rn"], "unknown command rn; did you mean run?"),
    (["zzz"], "unknown command zzz; see edged --help"),
    (["--foo"], "unknown flag --foo; flags follow the command; see edged --help"),
    (["--config", "x", "run"], "unknown flag --config; flags follow the command; see edged --help"),
    (["run", "--foo"], "unknown flag --foo for edged run; see edged run --help"),
    (["run", "--foo=secret"], "unknown flag --foo for edged run; see edged run --help"),
    (["run", "-x"], "unknown flag -x for edged run; see edged run --help"),
    (["run", "--exit-when-don"], "unknown flag --exit-when-don for edged run; did you mean --exit-when-done?"),
    (["run", "--exit-when"], "unknown flag --exit-when for edged run; did you mean --exit-when-done?"),
    (["run", "--config"], "edged run: argument --config: expected one argument; see edged run --help"),
    (["run", "extra"], "edged run takes no argument extra; see edged run --help"),
    (["run", f"rtsp://u:{SECRET}@h"], "edged run takes no argument …; see edged run --help"),
    (["check", "--jsn"], "unknown flag --jsn for edged check; did you mean --json?"),
    (["check", "--engine.devise", "1"], "unknown flag --engine.devise; did you mean --engine.device?"),
    (["check", "--engine.device"], "flag --engine.device needs a value; write --engine.device=VALUE"),
    (
        ["demo", "--seconds", "x"],
        "edged demo: argument --seconds: expected seconds, 0 or more, found x; see edged demo",
    ),
    (["demo", "--seconds=-1"], "edged demo: argument --seconds: expected seconds, 0 or more, found -1; see edged demo"),
    (["demo", "--engine.device=1"], "unknown flag --engine.device for edged demo; see edged demo --help"),
    (
        ["tail", "--count", "0"],
        "edged tail: argument --count: expected a number from 1, found 0; see edged tail --help",
    ),
    (["tail", "--key", "me.key_secret"], "edged tail: --server-key and --key go together; give the daemon's NAME.key"),
    (
        ["top", "--key", "me.key_secret", "--server-key", "gate-7.key"],
        "edged top: --server-key and --key are for tcp endpoints",
    ),
    (["reload", "--pid", "x"], "edged reload: argument --pid: expected a number from 1, found x"),
    (["tail", "--connect"], "edged tail: argument --connect: expected one argument; see edged tail --help"),
]


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the signal handlers back that ``run`` and ``demo`` replace."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers", "folder")
@pytest.mark.parametrize(("arguments", "message"), USAGE, ids=[" ".join(arguments) or "none" for arguments, _ in USAGE])
def test_wrong_usage_is_64_and_one_line(
    arguments: list[str], message: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if arguments[:1] == ["check"]:
        arguments = [*arguments[:1], f"--config={folder}/edged.toml", *arguments[1:]]
    assert main(arguments) == 64
    assert refused(capsys).startswith(message)


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["run", "--help"], ["tail", "-h"], ["demo", "--help"]])
@pytest.mark.usefixtures("handlers")
def test_help_is_printed(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("usage: edged ")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edged {__version__}\n"


def test_check_shows_every_setting_and_its_origin(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGED_ENGINE__SLOTS", "3")
    assert check(folder, "--engine.max_batch", "2") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert SECRET not in out
    rows = [line.split() for line in out.splitlines()]
    assert ["engine.max_batch", "2", "--engine.max_batch"] in rows
    assert ["engine.slots", "3", "EDGED_ENGINE__SLOTS"] in rows
    assert ["engine.device", "0", "default"] in rows
    assert ["sources[0].name", '"north"', "edged.toml:2"] in rows
    assert ["album", "lossless", f"dir://{folder}/photos"] in rows
    assert "input           32 x 32 (height x width)" in out
    assert out.endswith("\nconfiguration ok\n")
    assert (folder / "state").is_dir()


def test_check_as_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--json") == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert SECRET not in out
    report: dict[str, Any] = json.loads(out)
    assert report["ok"] is True
    assert report["settings"]["sources"][0]["uri"].startswith("rtsp://")
    assert report["origins"]["model.spec"] == "edged.toml:8"
    assert [source["mode"] for source in report["sources"]] == ["live", "lossless"]
    assert report["model"]["outputs"][0]["shape"] == [3]


# Flags that spoil a good configuration, the exit code, and a piece of the message.
SPOILED: dict[str, tuple[list[str], int, str]] = {
    "no spec": (["--model.spec=absent.toml"], 78, "absent.toml: model spec not found"),
    "spec is a model": (["--model.spec={}/tiny.onnx"], 78, "model spec"),
    "no video": (['--sources=[{{"name": "a", "uri": "file://{}/no.mp4"}}]'], 78, "no such file"),
    "one video of two": (
        ['--sources=[{{"name": "a", "uri": "synthetic://shapes"}}, {{"name": "b", "uri": "file:///no.mp4"}}]'],
        78,
        "source b: file:///no.mp4: no such file",
    ),
    "no picture in it": (['--sources=[{{"name": "a", "uri": "file://{}/tiny.toml"}}]'], 78, "source a: file://"),
    "no pictures": (['--sources=[{{"name": "a", "uri": "dir://{}/state"}}]'], 78, "dir://"),
    "unknown scheme": (
        [f'--sources=[{{{{"name": "a", "uri": "foo://u:{SECRET}@h"}}}}]'],
        78,
        "unknown source scheme foo://",
    ),
    "endpoint": (['--publish.bind=["nowhere"]'], 78, "publish.bind"),
    "folder of an endpoint": (['--publish.bind=["ipc:///absent/x.sock"]'], 78, "folder"),
    "open to the world": (['--publish.bind=["tcp://0.0.0.0:5999"]'], 78, "publish.insecure"),
    "keys": (
        ["--publish.curve.secret_key_file=/absent", "--publish.curve.authorized_keys_dir=/absent"],
        78,
        "publish.curve.secret_key_file",
    ),
    "state folder": (["--daemon.state_dir={}/tiny.onnx"], 78, "state_dir"),
    "backend": (["--engine.backend=tensorrt"], 69, "engine.backend: the tensorrt backend is not available"),
    "precision": (["--engine.precision=int8"], 78, "int8"),
    "value": (["--engine.slots=99"], 78, "--engine.slots: expected at most 8"),
}


@pytest.mark.parametrize("case", SPOILED)
def test_check_refuses_what_a_start_would(folder: Path, case: str, capsys: pytest.CaptureFixture[str]) -> None:
    flags, code, message = SPOILED[case]
    assert check(folder, *(flag.format(folder) for flag in flags)) == code
    assert message in refused(capsys)


def test_check_refuses_a_model_that_is_none(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "tiny.onnx").write_bytes(np.arange(100, dtype=np.uint8).tobytes())
    assert check(folder) == 78
    assert "tiny.onnx" in refused(capsys)


def test_check_in_json_prints_nothing_but_the_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(folder, "--json", "--engine.slots=99") == 78
    out, err = capsys.readouterr()
    assert out == ""
    assert err.count("\n") == 1


def test_an_unexpected_error_is_one_redacted_line(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_args: object, **_options: object) -> int:
        raise RuntimeError(f"first\nrtsp://user:{SECRET}@camera")

    monkeypatch.setattr("edged.check.run_check", broken)
    assert check(folder) == 70
    assert refused(capsys).startswith("internal error: RuntimeError: first rtsp://***@camera; please report it")
    with pytest.raises(RuntimeError):
        check(folder, "--traceback")


@pytest.mark.usefixtures("in_a_removed_folder")
def test_a_working_folder_that_was_removed_is_said_where_it_matters(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert check(folder) == 0
    capsys.readouterr()
    assert check(folder, "--json", "--publish.bind", '["ipc://here.sock"]') == 78
    assert refused(capsys) == "the working folder does not exist any more; change to a folder that exists"


@pytest.fixture
def in_a_removed_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()


@pytest.mark.parametrize("name", ["edged.cli", "edged.engine.cli", "edged"])
def test_importing_brings_next_to_nothing(name: str) -> None:
    """Handlers must stand before anything slow is imported."""
    code = f"import sys; import {name}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert not {"argparse", "pydantic", "numpy", "msgspec", "zmq", "onnx"} & set(run.stdout.split())


def test_module_and_broken_pipe(folder: Path) -> None:
    command = [sys.executable, "-m", "edged", "check", "--config", str(folder / "edged.toml")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    with process.stderr as stderr:
        assert stderr.read() == b""
    assert process.wait(60) == 0
