# SPDX-License-Identifier: Apache-2.0
"""tools/install: what it puts where, that it changes nothing twice, and what it never touches."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from edged.config import load
from tools.installer.machine import Machine, look
from tools.installer.plan import UNITS, Wish, install_steps, uninstall_steps, version_id
from tools.installer.steps import PointTo, Run, Step, StepError, carry_out

REPO = Path(__file__).resolve().parents[2]
NVIDIA = "NVRM version: NVIDIA UNIX x86_64 Kernel Module  {version}  Sun Jan  1 00:00:00 UTC 2023\n"


def install(root: Path, *arguments: str, code: int = 0) -> str:
    command = [str(REPO / "tools/install"), "--root", str(root), "--files-only", *arguments]
    environment = {**os.environ, "PYTHON": sys.executable}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout


def tree(root: Path) -> dict[str, tuple[int, bytes]]:
    """Every file with its mode and content."""
    return {
        str(path.relative_to(root)): (path.stat().st_mode, path.read_bytes() if path.is_file() else b"")
        for path in root.rglob("*")
    }


def test_a_second_time_changes_nothing(tmp_path: Path) -> None:
    before = install(tmp_path, "--dry-run")
    assert tree(tmp_path) == {}
    done = install(tmp_path)
    assert [line.replace("would ", "") for line in before.splitlines()[:-1]] == done.splitlines()[:-1]
    first = tree(tmp_path)
    assert {f"etc/systemd/system/{unit}" for unit in UNITS} <= set(first)
    assert stat.S_IMODE(first["etc/edged/edged.toml"][0]) == 0o640
    # The unit's own folder, also for whoever calls `edged reload` in a shell.
    settings = load(tmp_path / "etc/edged/edged.toml", [], {}).settings
    assert settings.daemon.state_dir == Path("/var/lib/edged")
    assert "StateDirectory=edged\n" in first["etc/systemd/system/edged.service"][1].decode()
    assert "all is as it should be" in install(tmp_path)
    assert "nothing to do" in install(tmp_path, "--dry-run")
    assert tree(tmp_path) == first


def test_settings_and_engines_are_kept_and_units_are_renewed(tmp_path: Path) -> None:
    install(tmp_path)
    mine = {"etc/edged/edged.toml": "mine", "var/lib/edged/engine.plan": "an engine", "etc/edged/curve.key": "a key"}
    for path, content in mine.items():
        (tmp_path / path).write_text(content)
    unit = tmp_path / "etc/systemd/system/edged.service"
    unit.write_text("of an older version")
    install(tmp_path)
    assert "ExecStart=" in unit.read_text()
    assert (unit.parent / "edged.service.d/20-curve-credential.conf").exists()
    (unit.parent / "edged.service.d/90-mine.conf").write_text("[Service]\n")
    install(tmp_path, "--uninstall")
    left = {path for path, (mode, _) in tree(tmp_path).items() if stat.S_ISREG(mode)}
    assert left == {*mine, "etc/systemd/system/edged.service.d/90-mine.conf"}
    assert {path: (tmp_path / path).read_text() for path in mine} == mine
    assert "nothing to remove" in install(tmp_path, "--uninstall")


def test_another_prefix(tmp_path: Path) -> None:
    install(tmp_path, "--prefix", "/srv/edged")
    for unit in UNITS:
        text = (tmp_path / "etc/systemd/system" / unit).read_text()
        assert "ExecStart=/srv/edged/venv/bin/" in text
        assert "/opt/edged" not in text


def test_wrong_flags_are_64(tmp_path: Path) -> None:
    install(tmp_path, "--what", code=64)


@pytest.mark.parametrize(
    ("version", "extra"), [("470.82.01", ""), ("550.54.15", "tensorrt-cu12"), ("580.65.06", "tensorrt-cu13")]
)
def test_a_discrete_gpu(tmp_path: Path, version: str, extra: str) -> None:
    path = tmp_path / "proc/driver/nvidia/version"
    path.parent.mkdir(parents=True)
    path.write_text(NVIDIA.format(version=version))
    assert look(tmp_path).extra == extra
    install(tmp_path)
    units = tmp_path / "etc/systemd/system"
    assert {path.name for path in units.glob("*/*.conf")} == {"10-discrete-gpu.conf"}
    assert (tmp_path / "etc/modules-load.d/edged.conf").read_text().endswith("nvidia-uvm\n")
    # The card is taken out: what was for it goes.
    path.unlink()
    install(tmp_path)
    assert not list(units.glob("*/*.conf"))
    assert not (tmp_path / "etc/modules-load.d/edged.conf").exists()


def test_a_jetson(tmp_path: Path) -> None:
    for path in ("etc/nv_tegra_release", "etc/systemd/system/nvargus-daemon.service"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    assert look(tmp_path).extra == ""
    install(tmp_path)
    found = {str(path.relative_to(tmp_path / "etc/systemd/system")) for path in tmp_path.rglob("*.d/1*.conf")}
    assert found == {
        "edged.service.d/10-jetson.conf",
        "edged.service.d/15-jetson-csi.conf",
        "edged-build-engine.service.d/10-jetson.conf",
    }
    assert not (tmp_path / "etc/modules-load.d/edged.conf").exists()


def commands(machine: Machine, root: Path) -> list[list[str]]:
    steps = install_steps(Wish(REPO, machine, root))
    return [list(command) for step in steps if isinstance(step, Run) for command in step.commands]


def test_a_jetson_uses_the_python_of_the_system(tmp_path: Path) -> None:
    venv, pip, _ = commands(Machine(jetson=True, numpy_1=True), tmp_path)
    assert "--system-site-packages" in venv
    assert pip[-2:] == [str(REPO), "numpy<2"]
    venv, pip, _ = commands(Machine(driver=550), tmp_path)
    assert "--system-site-packages" not in venv
    assert pip[-1] == f"{REPO}[tensorrt-cu12]"


def test_an_upgrade_is_made_beside_the_version_in_use(tmp_path: Path) -> None:
    wheel = tmp_path / "edged-1-py3-none-any.whl"
    links, names = [], []
    for content in ("one", "two", "three"):
        wheel.write_text(content)
        wish = Wish(REPO, Machine(), tmp_path / "root", wheel=wheel)
        names.append(version_id(wish))
        place = wish.at("/opt/edged/versions") / names[-1]
        for step in install_steps(wish):
            if isinstance(step, Run):
                place.mkdir(parents=True)
                break
        # Stands for venv and pip: all steps but those that run programs.
        written: list[Step] = []
        for step in install_steps(wish):
            if not isinstance(step, Run):
                written += [step]
        carry_out(written, dry=False, say=lambda _text: None)
        links.append(os.readlink(tmp_path / "root/opt/edged/venv"))
        os.utime(place, (len(links), len(links)))
    assert links == [f"versions/{name}" for name in names]
    assert {path.name for path in (tmp_path / "root/opt/edged/versions").iterdir()} == set(names[1:])
    commands_at = tmp_path / "root/usr/local/bin"
    found = {path.name: os.readlink(path) for path in commands_at.iterdir()}
    assert found == {name: f"/opt/edged/venv/bin/{name}" for name in ("edged", "edged-build-engine")}
    # What somebody else has put there is not ours.
    (commands_at / "edged").unlink()
    (commands_at / "edged").write_text("of somebody else")
    wish = Wish(REPO, Machine(), tmp_path / "root", wheel=wheel)
    carry_out([step for step in install_steps(wish) if not isinstance(step, Run)], dry=False, say=lambda _text: None)
    carry_out(uninstall_steps(wish), dry=False, say=lambda _text: None)
    assert {path.name: path.read_text() for path in commands_at.iterdir()} == {"edged": "of somebody else"}
    assert not (tmp_path / "root/opt/edged").exists()


def test_a_step_that_fails_ends_it(tmp_path: Path) -> None:
    after = PointTo(tmp_path / "link", "somewhere")
    steps: list[Step] = [Run("fail", [["false"]]), after]
    with pytest.raises(StepError, match="false ended with status 1"):
        carry_out(steps, dry=False, say=lambda _text: None)
    assert after.needed()
    with pytest.raises(StepError, match="cannot be run"):
        carry_out([Run("run nothing", [["/nowhere/program"]])], dry=False, say=lambda _text: None)


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_no_script_has_a_fault_that_shellcheck_knows() -> None:
    files = [path for folder in ("tools", ".ci") for path in sorted((REPO / folder).iterdir()) if path.is_file()]
    scripts = [path for path in files if path.read_bytes().startswith((b"#!/bin/sh", b"#!/bin/bash"))]
    assert {"install", "test", "demo", "run"} <= {path.name for path in scripts}
    done = subprocess.run(
        ["shellcheck", "--severity=warning", *scripts], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stdout
