# SPDX-License-Identifier: Apache-2.0
"""``edged doctor``: its arguments, its output for people and for machines, its exit codes, its page."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import jsonschema
import msgspec
import pytest
from doctor.doctor_rig import REPO, SECRET, Rig

from edged.cli import main
from edged.doctor.finding import SCHEMA, Report
from edged.doctor.registry import CHECKS

MACHINE = "user,python,kernel,driver,memory,cgroup,file-descriptors,clock-source,time-sync"


@pytest.fixture
def rig(short_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Rig]:
    monkeypatch.setenv("EDGED_DAEMON__NAME", "gate")
    made = Rig(short_folder)
    yield made
    made.stack.close()


def doctor(rig: Rig, *flags: str) -> int:
    config = [] if rig.config is None else ["--config", str(rig.config)]
    return main(["doctor", "--root", str(rig.root), *config, *flags])


def test_an_empty_machine_has_no_problem(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(rig, "--only", MACHINE) == 0
    out, err = capsys.readouterr()
    assert err == ""
    lines = out.splitlines()
    assert re.match(r"ok +python +3\.", lines[1])
    assert "warning  time-sync" in out
    assert "→ sudo timedatectl set-ntp true" in out
    assert re.fullmatch(r"\d+ ok, 1 warning, 0 problems, \d+ skipped", lines[-1])


def test_the_worst_problem_decides_the_exit_code(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.settings(engine={"backend": "tensorrt"}, publish={"bind": ["tcp://0.0.0.0:5555"]})
    assert doctor(rig, "--only", "driver,settings") == 69
    assert doctor(rig, "--only", "driver,exposure") == 78
    assert "problem  exposure" in capsys.readouterr().out


def test_flags_override_the_settings(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(rig, "--only", "settings", "--daemon.state_dir", "elsewhere") == 64
    assert "flags could override; give --config FILE, too" in capsys.readouterr().err
    rig.settings()
    assert doctor(rig, "--only", "settings", "--engine.slots", "3") == 0
    capsys.readouterr()
    assert doctor(rig, "--only", "settings", "--engine.slots=99") == 78
    assert "--engine.slots: expected at most 8" in capsys.readouterr().out
    assert doctor(rig, "--only", "settings", "--engine.slts=9") == 64
    assert doctor(rig, "--frobnicate") == 64


def test_json_is_what_its_schema_says_and_holds_no_secret(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    rig.settings(f"rtsp://admin:{SECRET}@127.0.0.1:9/stream?token={SECRET}")
    assert doctor(rig, "--json") == 78
    out, err = capsys.readouterr()
    assert SECRET not in out + err
    whole = json.loads(out)
    jsonschema.validate(whole, json.loads((REPO / "docs/schemas/doctor.json").read_text()))
    report = msgspec.json.decode(out, type=Report)
    assert report.schema == SCHEMA
    assert [check.name for check in report.checks] == [check.name for check in CHECKS]
    assert report.exit_code == 78
    assert report.counts["problem"] == sum(check.result == "problem" for check in report.checks) >= 1
    for check in report.checks:
        if check.result == "problem":
            assert check.evidence, check
            assert check.remedy, check


def test_the_usual_settings_file_is_read_if_it_is_there(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(rig, "--only", "settings") == 0
    assert "skipped" in capsys.readouterr().out
    rig.file("/etc/edged/edged.toml", "nonsense")
    assert doctor(rig, "--only", "settings") == 78


@pytest.mark.parametrize(
    ("only", "message"),
    [
        ("drivr", "edged doctor --only: unknown check drivr; did you mean driver?"),
        (",", "edged doctor --only: no check is named; write --only driver,engine"),
    ],
)
def test_an_unknown_check_is_wrong_usage(only: str, message: str, rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor(rig, "--only", only) == 64
    assert capsys.readouterr().err == f"edged: {message}\n"


def test_checks_are_named_once_and_explained_on_the_page() -> None:
    names = [check.name for check in CHECKS]
    assert len(names) == len(set(names)) >= 20
    page = (REPO / "docs" / "doctor.md").read_text()
    rows = re.findall(r"^\| `([a-z0-9-]+)` \|.*\| (69|78) \|$", page, re.MULTILINE)
    assert rows == [(check.name, str(check.exit_code)) for check in CHECKS]
    assert max(map(len, names)) < 17  # a column of the output


def test_the_help_hides_what_is_for_tests(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    out = capsys.readouterr().out
    assert "--only" in out
    assert "--root" not in out


def test_the_schema_is_up_to_date() -> None:
    command = [sys.executable, str(REPO / "tools" / "make_doctor_schema.py"), "--check"]
    assert subprocess.run(command, check=False).returncode == 0
