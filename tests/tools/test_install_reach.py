# SPDX-License-Identifier: Apache-2.0
"""tools/install: the service can run what it installs, and what it says goes where it belongs."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path

import pytest

from tools.installer.machine import Machine
from tools.installer.plan import Wish, install_steps
from tools.installer.reach import SERVICE_USER, require_interpreter, require_prefix, unreachable
from tools.installer.steps import Run, StepError, WriteFile

REPO = Path(__file__).resolve().parents[2]
INSTALL = str(REPO / "tools/install")
NEW_ENOUGH = "import sys; sys.exit(sys.version_info < (3, 10))"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def has_system_python() -> bool:
    try:
        return subprocess.run(["/usr/bin/python3", "-c", NEW_ENOUGH], check=False).returncode == 0
    except OSError:
        return False


needs_system_python = pytest.mark.skipif(not has_system_python(), reason="the system has no Python 3.10 or newer")


def program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHON"}
    return subprocess.run(
        [INSTALL, *arguments], capture_output=True, text=True, env={**kept, **environment}, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("path", "below"),
    [
        ("/root/.pyenv/versions/3.12.1/bin/python3.12", "/root"),
        ("/home/kim/.local/share/uv/python/bin/python3", "/home"),
        ("/run/user/1000/python3", "/run/user"),
        ("/tmp/venv/bin/python", "/tmp"),
    ],
)
def test_a_python_that_the_unit_hides_from_the_service_is_refused(path: str, below: str) -> None:
    with pytest.raises(StepError, match=rf"below {below}, .*PYTHON=") as refused:
        require_interpreter(Path(path), Path("/usr"))
    assert path in str(refused.value)
    with pytest.raises(StepError, match=f"below {below}"):
        require_interpreter(Path("/usr/bin/python3"), Path(path).parents[1])
    with pytest.raises(StepError, match=rf"below {below}, .*/opt/edged"):
        require_prefix(Path(path))
    require_interpreter(Path("/usr/bin/python3"), Path("/usr"))
    require_prefix(Path("/opt/edged"))


def test_a_folder_that_the_user_may_not_enter(short_folder: Path) -> None:
    short_folder.chmod(0o755)
    python = short_folder / "own" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.touch()
    assert unreachable(python, hidden={}) == ""
    # What a link points to is what counts, and a folder above as well.
    (short_folder / "python3").symlink_to(python)
    (short_folder / "own").chmod(0o700)
    said = unreachable(short_folder / "python3", hidden={})
    assert said == f"the user edged may not enter {short_folder / 'own'} (mode 0700)"


@needs_system_python
def test_the_systems_python_comes_before_the_first_one_in_path(tmp_path: Path) -> None:
    marker = tmp_path / "own was run"
    program(tmp_path / "bin", "python3", f'touch "{marker}"')
    done = run(
        "--root", str(tmp_path / "root"), "--files-only", "--dry-run", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    )
    assert done.returncode == 0, done.stderr
    assert not marker.exists()
    assert "would write" in done.stdout


def test_a_python_that_was_named_is_taken_or_refused_aloud(tmp_path: Path) -> None:
    program(tmp_path / "bin", "old", "exit 1")
    done = run("--dry-run", PYTHON=str(tmp_path / "bin/old"))
    assert done.returncode == 69
    assert "old is no Python 3.10 or newer" in done.stderr


@needs_system_python
def test_a_dry_run_says_nothing_of_systemctls_complaints(tmp_path: Path) -> None:
    complaint = "Failed to get unit file state for edged.service: No such file or directory"
    script = f'if [ "$1" = --version ]; then echo "systemd 252 (252.39)"; else echo "{complaint}" >&2; exit 1; fi'
    program(tmp_path / "bin", "systemctl", script)
    done = run("--dry-run", "--start", PATH=f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 0, done.stderr
    assert "would enable edged.service" in done.stdout
    assert "would start it" in done.stdout
    assert "(/usr/bin/python3" in done.stdout.splitlines()[0]
    assert done.stderr == ""


def test_it_goes_on_when_nobody_listens_any_more(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as nowhere:
        done = subprocess.run(
            [INSTALL, "--root", str(tmp_path), "--files-only"],
            stdout=nowhere,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "var/lib/edged").is_dir()  # one of the last steps


def test_the_environment_is_checked_by_the_service_user_who_is_made_before() -> None:
    steps = install_steps(Wish(REPO, Machine(), prefix=Path("/opt/edged-of-a-test")))
    order = [step.text.partition(" ")[0] if isinstance(step, Run) else "" for step in steps]
    (check,) = (step for step in steps if isinstance(step, Run) and step.text.startswith("check "))
    assert check.user == SERVICE_USER
    assert isinstance(steps[0], WriteFile)
    assert steps[0].path == Path("/etc/sysusers.d/edged.conf")
    assert isinstance(steps[1], Run)
    assert steps[1].commands[0][0] == "systemd-sysusers"
    assert steps.index(check) > 1, order


@needs_root
def test_a_program_is_run_with_the_rights_of_its_user_only(short_folder: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    short_folder.chmod(0o755)
    groups = f'test "$(id -u) $(id -G)" = "{nobody.pw_uid} {nobody.pw_gid}"'
    Run("be nobody", [["/bin/sh", "-c", groups]], user="nobody").do()
    program(short_folder / "own", "edged", "exit 0")
    mine = [str(short_folder / "own/edged")]
    Run("check", [mine], user="nobody").do()
    (short_folder / "own").chmod(0o700)
    Run("check", [mine]).do()
    with pytest.raises(StepError, match="own/edged cannot be run by the user nobody: Permission denied"):
        Run("check", [mine], user="nobody").do()
    with pytest.raises(StepError, match="false ended with status 1 when run by the user nobody"):
        Run("fail", [["false"]], user="nobody").do()
