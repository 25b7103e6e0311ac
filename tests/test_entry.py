# SPDX-License-Identifier: Apache-2.0
"""Standard streams as a shell or a script may leave them, and interrupts: as a user runs both commands."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.daemon import ASSETS, toml
from support.ports import tcp_endpoint

from edged.cli import main
from edged.engine.cli import main as build

EDGED = f"{sys.executable} -m edged"
BUILD = f"{sys.executable} -m edged.engine.cli"


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings that are right, in a file whose name is not ASCII."""
    path = tmp_path / "töre 🎥.toml"
    path.write_text(
        toml(
            {
                "daemon": {"state_dir": str(tmp_path / "state")},
                "sources": [{"name": "north", "uri": "synthetic://shapes"}],
                "model": {"spec": str(ASSETS / "shapes.toml")},
                "publish": {"bind": [tcp_endpoint()]},
                "http": {"bind": ""},
            }
        )
    )
    return path


def shell(line: str, config: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of shell in the folder of the settings, with ``$CONFIG`` for their file."""
    return subprocess.run(
        ["env", *(f"{name}={value}" for name, value in environment.items()), f"CONFIG={config}", "sh", "-c", line],
        cwd=config.parent,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_closed_streams_are_nobodys_files(config: Path) -> None:
    done = shell(f'{EDGED} check --config "$CONFIG" <&- >&- 2>&-', config)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = shell(f'{EDGED} run --config "$CONFIG" --exit-when-done --sources "$SOURCES" 2>&-', config, SOURCES=ENDING)
    assert (done.returncode, done.stdout) == (0, "")


ENDING = '[{"name": "a", "uri": "synthetic://shapes?frames=1"}]'


@pytest.mark.parametrize("command", [f"{EDGED} doctor --only user", f"{EDGED} --version", f"{BUILD} --help"])
def test_output_that_cannot_be_written_is_one_line(config: Path, command: str) -> None:
    done = shell(f"{command} >/dev/full", config)
    assert done.returncode == 74
    words = "standard output: cannot be written: No space left on device; send it somewhere else"
    assert re.fullmatch(rf"edged(-build-engine)?: {words}\n", done.stderr)


def test_nobody_is_told_where_nobody_can_be(config: Path) -> None:
    assert shell(f"{EDGED} frobnicate 2>/dev/full", config).returncode == 64


def test_characters_that_an_encoding_lacks_are_escaped_as_json_has_them(config: Path) -> None:
    done = shell(f'{EDGED} check --json --config "$CONFIG"', config, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["config"] == str(config)
    done = shell(f'{EDGED} doctor --only settings --config "$CONFIG"', config, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (0, "")
    assert "t\\u00f6re \\ud83c\\udfa5.toml: 1 source" in done.stdout


@pytest.mark.parametrize("command", [f"{BUILD} --help", f"{EDGED} doctor --only user"])
def test_a_closed_pipe_is_no_error(config: Path, command: str) -> None:
    done = shell(f"{{ sleep 0.05; {command}; echo $? >code; }} | true", config)
    assert done.stderr == ""
    assert (config.parent / "code").read_text() == "0\n"


COMMANDS = {
    "edged.check.run_check": ["check"],
    "edged.keys.run_keys": ["keys", "list"],
    "edged.export.command.run_export": ["export", "a"],
    "edged.bench.command.run_bench": ["bench"],
    "edged.doctor.command.run_doctor": ["doctor"],
    "edged.runtime.reload_command.run_reload": ["reload"],
    "edged.stages.publish.tail.run_tail": ["tail"],
    "edged.top.run_top": ["top"],
}


@pytest.mark.parametrize("function", COMMANDS)
def test_an_interrupted_command_does_not_look_done(
    function: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_args: object, **_options: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(function, interrupted)
    before = signal.getsignal(signal.SIGTERM)
    try:
        code = main(COMMANDS[function])
    finally:
        signal.signal(signal.SIGTERM, before)
    # The last two are ended by nothing else.
    assert code == (0 if COMMANDS[function][0] in ("tail", "top") else 130)
    assert capsys.readouterr() == ("", "")


def test_a_real_interrupt_ends_check_with_130(config: Path) -> None:
    command = [sys.executable, "-c", _SLOW, "check", "--config", str(config)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "imports\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 130


# An import that takes its time, as those of a cold disk do.
_SLOW = """\
import os, sys, time
from edged.cli import main

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "pydantic":
            os.write(1, b"imports\\n")  # an interrupted flush of sys.stdout would write it twice
            time.sleep(30)

sys.meta_path.insert(0, Slow())
sys.exit(main())
"""


def test_an_interrupt_ends_a_build_that_still_imports(config: Path) -> None:
    command = [sys.executable, "-c", _SLOW.replace("edged.cli", "edged.engine.cli"), "x.toml"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        begin = time.monotonic()
        assert process.stdout.readline() == "imports\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert err == "edged-build-engine: stopped; the engines are as they were\n"
    assert process.returncode == 0
    assert time.monotonic() - begin < 20


def test_what_is_no_terminal_at_all_is_left_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout
    assert build(["--version"]) == 0
    assert sys.stdout is before
    assert capsys.readouterr().out.startswith("edged-build-engine ")
