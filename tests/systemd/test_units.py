# SPDX-License-Identifier: Apache-2.0
"""The units: what must stand in them, and what systemd itself says of them where it is installed."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
UNITS = ("edged.service", "edged-build-engine.service")
DROP_INS = ("", "discrete-gpu", "jetson", "jetson-csi", "curve-credential")
_TIMES = {"": 1.0, "s": 1.0, "min": 60.0}

Entries = dict[str, list[str]]


def entries(path: Path) -> Entries:
    """Keys of a unit file as ``Section.Key``, with all their values."""
    found: Entries = {}
    section = ""
    for line in path.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and line[0] not in "#;":
            key, equals, value = line.partition("=")
            assert equals, f"{path.name}: {line}"
            assert re.fullmatch(r"[A-Z][A-Za-z]+", key), f"{path.name}: {line}"
            assert section, f"{path.name}: {line}"
            found.setdefault(f"{section}.{key}", []).append(value)
    return found


def seconds(text: str) -> float:
    matched = re.fullmatch(r"([\d.]+)(\w*)", text)
    assert matched, text
    return float(matched[1]) * _TIMES[matched[2]]


@pytest.fixture
def daemon() -> Entries:
    return entries(REPO / "systemd/edged.service")


@pytest.fixture
def build() -> Entries:
    return entries(REPO / "systemd/edged-build-engine.service")


def test_restarts(daemon: Entries) -> None:
    assert daemon["Unit.StartLimitIntervalSec"] == ["0"]
    assert daemon["Service.Restart"] == ["always"]
    assert daemon["Service.RestartPreventExitStatus"] == ["64 78"]
    assert daemon["Service.RestartForceExitStatus"] == ["75"]
    assert seconds(daemon["Service.RestartSec"][0]) >= 1


def test_deadlines_leave_room_for_those_of_the_daemon(daemon: Entries) -> None:
    from edged.runtime.household import START_S
    from edged.runtime.start import PREPARE_S

    start = seconds(daemon["Service.TimeoutStartSec"][0])
    assert start > PREPARE_S + START_S
    assert seconds(daemon["Service.TimeoutStopSec"][0]) > 5
    # A replaced child may take long to load its model; that feeds the watchdog, but a look comes once a second only.
    assert seconds(daemon["Service.WatchdogSec"][0]) >= 10


def test_notify(daemon: Entries) -> None:
    # notify-reload would be taken for simple before systemd 253; a drop-in has it.
    assert daemon["Service.Type"] == ["notify"]
    assert daemon["Service.NotifyAccess"] == ["main"]
    assert daemon["Service.ExecReload"] == ["/bin/kill -HUP $MAINPID"]
    assert "PYTHONFAULTHANDLER=1" in daemon["Service.Environment"]
    newer = entries(REPO / "systemd/drop-ins/newer-systemd.conf")
    assert newer["Service.Type"] == ["notify-reload"]
    assert {"Service.RestartSteps", "Service.RestartMaxDelaySec"} <= set(newer)


@pytest.mark.parametrize("name", UNITS)
def test_what_would_take_the_gpu_away_is_not_there(name: str) -> None:
    found = entries(REPO / "systemd" / name)
    for key in (
        "PrivateDevices",
        "ProcSubset",
        "ProtectClock",
        "DevicePolicy",
        "DeviceAllow",
        "MemoryDenyWriteExecute",
    ):
        assert f"Service.{key}" not in found
    assert not any("@resources" in value for value in found["Service.SystemCallFilter"])
    # A list of devices and what needs one come together.
    gpu = entries(REPO / "systemd/drop-ins/discrete-gpu.conf")
    assert {"char-nvidia* rw", "char-video4linux rw"} <= set(gpu["Service.DeviceAllow"])
    assert gpu["Service.ProtectClock"] == ["yes"]
    assert "Service.DeviceAllow" not in entries(REPO / "systemd/drop-ins/jetson.conf")


def test_the_build_comes_first_and_only_if_asked_for(daemon: Entries, build: Entries) -> None:
    assert build["Service.Type"] == ["oneshot"]
    assert build["Unit.Before"] == ["edged.service"]
    assert build["Install.WantedBy"] == ["edged.service"]
    assert build["Service.TimeoutStartSec"] == ["infinity"]
    assert "--force" not in build["Service.ExecStart"][0]
    assert int(build["Service.OOMScoreAdjust"][0]) > int(daemon["Service.OOMScoreAdjust"][0])
    hardening = {key for key in daemon if re.search(r"\.(Protect|Restrict|Private|NoNew|SystemCall|Capability)", key)}
    assert {key: daemon[key] for key in hardening} == {key: build[key] for key in hardening}


def test_folders_and_users_agree(daemon: Entries) -> None:
    assert daemon["Service.User"] == ["edged"]
    assert [daemon[f"Service.{kind}Directory"] for kind in ("Runtime", "State", "Configuration")] == [["edged"]] * 3
    users = (REPO / "systemd/sysusers.d/edged.conf").read_text()
    assert re.search(r"^u edged ", users, re.MULTILINE)
    assert {"m edged video", "m edged render"} <= set(users.splitlines())
    folders = dict(re.findall(r"^d (\S+) (\d+) ", (REPO / "systemd/tmpfiles.d/edged.conf").read_text(), re.MULTILINE))
    # systemd complains at each start where these differ.
    assert folders["/etc/edged"] == daemon["Service.ConfigurationDirectoryMode"][0]
    assert folders["/var/lib/edged"] == daemon["Service.StateDirectoryMode"][0]


def test_every_flag_in_a_command_line_exists() -> None:
    from edged.cli_arguments import parse
    from edged.engine.options import parse as parse_build

    for name, reader in zip(UNITS, (parse, parse_build), strict=True):
        _, *arguments = entries(REPO / "systemd" / name)["Service.ExecStart"][0].split()
        assert str(reader(arguments).config) == "/etc/edged/edged.toml"


needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


@pytest.fixture(params=[(unit, drop_in) for unit in UNITS for drop_in in DROP_INS], ids="-".join)
def unit(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A unit with a drop-in, as they are installed; its program exists on every machine."""
    name, drop_in = request.param
    path: Path = tmp_path / name
    path.write_text(re.sub(r"/opt/edged/venv/bin/\S+", "/bin/true", (REPO / "systemd" / name).read_text()))
    if drop_in:
        (tmp_path / f"{name}.d").mkdir()
        shutil.copy(REPO / f"systemd/drop-ins/{drop_in}.conf", tmp_path / f"{name}.d")
    return path


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["systemd-analyze", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def systemd_version() -> int:
    found = re.match(r"systemd (\d+)", analyze("--version").stdout)
    return int(found[1]) if found else 0


@needs_systemd
def test_systemd_has_nothing_to_say(unit: Path) -> None:
    done = analyze("verify", "--man=no", str(unit))
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@needs_systemd
def test_exposure(unit: Path) -> None:
    if systemd_version() < 250:
        pytest.skip("systemd-analyze security --offline came with systemd 250")
    done = analyze("security", "--offline=true", str(unit))
    found = re.search(r"exposure level for \S+: ([\d.]+)", done.stdout)
    assert found, done.stderr
    # Cameras behind nvargus-daemon cost a private /tmp, and with it 0.2.
    csi = any("jetson-csi" in path.name for path in unit.parent.rglob("*.conf"))
    assert float(found[1]) <= (2.1 if csi else 2.0), done.stdout
