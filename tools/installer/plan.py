# SPDX-License-Identifier: Apache-2.0
"""The installation as a list of steps, and its removal.

``PREFIX/versions/ID`` holds an environment each, and the link ``PREFIX/venv`` says which one runs: an upgrade is made
beside the version in use and switched to in one go, and the one before it stays to go back to.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.installer.machine import Machine
from tools.installer.reach import SERVICE_USER, interpreter
from tools.installer.steps import MakeFolder, PointTo, Remove, Run, Step, WriteFile

UNITS = ("edged.service", "edged-build-engine.service")
_ORDER = {"discrete-gpu": 10, "jetson": 10, "jetson-csi": 15, "curve-credential": 20, "newer-systemd": 30}
_FOR_THE_DAEMON = ("curve-credential", "newer-systemd", "jetson-csi")
_USUAL_PREFIX = "/opt/edged"
_PROGRAMS = ("edged", "edged-build-engine")
_COMMANDS = "/usr/local/bin"
_NO_STATE_DIR = '#state_dir = "/var/lib/edged"'
_COMPLETE = ".complete"


@dataclass(frozen=True)
class Wish:
    """What is asked for.

    Attributes:
        repo: the source tree.
        machine: to install on.
        root: of the file system; anything but / means that nothing is started and no user is made.
        prefix: of the program, below the root.
        wheel: a wheel to install instead of the source tree.
        extra: of the package; None for what fits the machine.
        files_only: leave the environment to somebody else.
        start: start the service at the end.
        enable: start it at each boot.
    """

    repo: Path
    machine: Machine
    root: Path = Path("/")
    prefix: Path = Path(_USUAL_PREFIX)
    wheel: Path | None = None
    extra: str | None = None
    files_only: bool = False
    start: bool = False
    enable: bool = True

    @property
    def live(self) -> bool:
        """Whether this very machine is meant, not the file system of another one."""
        return self.root == Path("/")

    def at(self, path: str | Path) -> Path:
        """An absolute path, below the root."""
        return self.root / str(path).lstrip("/")


def install_steps(wish: Wish) -> list[Step]:
    """What makes or renews an installation; settings, keys and engines stay as they are."""
    steps: list[Step] = list(_user(wish))
    if not wish.files_only:
        steps += _environment(wish)
    steps += _files(wish)
    steps += _settings(wish)
    if wish.live:
        # What is in order needs no restart.
        steps += _system(wish, changed=any(step.needed() for step in steps))
    return steps


def uninstall_steps(wish: Wish) -> list[Step]:
    """What takes an installation away again; settings, keys, engines and the user stay."""
    steps: list[Step] = []
    if wish.live and wish.machine.systemd:
        present = wish.at(f"/etc/systemd/system/{UNITS[0]}")
        steps.append(
            Run(
                "stop and disable the service",
                [["systemctl", "disable", "--now", *UNITS]],
                lambda: not present.exists(),
            )
        )
    for unit in UNITS:
        steps += [Remove(wish.at(f"/etc/systemd/system/{unit}")), *map(Remove, _our_drop_ins(wish, unit))]
        steps.append(_RemoveIfEmpty(wish.at(f"/etc/systemd/system/{unit}.d")))
    for kind in ("sysusers.d", "tmpfiles.d", "modules-load.d"):
        steps.append(Remove(wish.at(f"/etc/{kind}/edged.conf")))
    steps += [_RemoveCommand(wish.at(f"{_COMMANDS}/{name}"), _program(wish, name)) for name in _PROGRAMS]
    steps.append(Remove(wish.at(wish.prefix)))
    if wish.live and wish.machine.systemd and any(step.needed() for step in steps):
        steps.append(Run("tell systemd", [["systemctl", "daemon-reload"]]))
    return steps


class _RemoveIfEmpty(Remove):
    """A folder that somebody else's files lie in stays."""

    def needed(self) -> bool:
        return self.path.is_dir() and not any(self.path.iterdir())


class _Command(PointTo):
    """A command for everybody's shell; where somebody has put something else in its place, that stays."""

    def needed(self) -> bool:
        return not (self.path.is_symlink() or self.path.exists())


@dataclass(frozen=True)
class _RemoveCommand(Remove):
    """Only what leads to our program is ours."""

    target: str

    def needed(self) -> bool:
        return self.path.is_symlink() and os.readlink(self.path) == self.target


def _program(wish: Wish, name: str) -> str:
    return str(wish.prefix / "venv/bin" / name)


def _our_drop_ins(wish: Wish, unit: str) -> list[Path]:
    return [wish.at(f"/etc/systemd/system/{unit}.d/{order}-{name}.conf") for name, order in _ORDER.items()]


def version_id(wish: Wish) -> str:
    """Name of the environment: the same for the same sources, extra and Python."""
    digest = hashlib.sha256()
    paths = [wish.wheel] if wish.wheel else [wish.repo / "pyproject.toml", *sorted((wish.repo / "edged").rglob("*"))]
    for path in paths:
        if path.is_file() and path.suffix != ".pyc":
            digest.update(str(path.name).encode() + b"\0" + path.read_bytes())
    python = f"{interpreter()} {sys.version}"
    digest.update(f"{_extra(wish)} {python} {wish.machine.jetson} {wish.machine.numpy_1}".encode())
    return digest.hexdigest()[:12]


def _extra(wish: Wish) -> str:
    return wish.machine.extra if wish.extra is None else wish.extra


def _user(wish: Wish) -> Iterable[Step]:
    """The service's user, who comes first: the environment is checked by nobody else."""
    known = "/etc/sysusers.d/edged.conf"
    yield WriteFile(wish.at(known), (wish.repo / "systemd/sysusers.d/edged.conf").read_text())
    if wish.live:
        yield Run(f"make the user {SERVICE_USER}", [["systemd-sysusers", known]], _user_exists)


def _environment(wish: Wish) -> Iterable[Step]:
    """A virtual environment with the package; on a Jetson over the system's Python, TensorRT, OpenCV and NumPy."""
    name = version_id(wish)
    place = wish.at(wish.prefix) / "versions" / name
    complete = place / _COMPLETE
    make = [sys.executable, "-m", "venv", "--clear", str(place)]
    if wish.machine.jetson:
        make.insert(-1, "--system-site-packages")
    package = str(wish.wheel or wish.repo) + (f"[{_extra(wish)}]" if _extra(wish) else "")
    pip = [
        str(place / "bin/python"),
        "-m",
        "pip",
        "install",
        "--disable-pip-version-check",
        "--no-input",
        "-q",
        package,
    ]
    if wish.machine.numpy_1:
        pip.append("numpy<2")
    yield MakeFolder(wish.at(wish.prefix) / "versions")
    # --clear: what an installation that was interrupted left is made anew.
    yield Run(f"make the environment {place} and install {package}", [make, pip], complete.exists)
    # Root can run what the service cannot, for example a Python in a folder of root's own.
    user = SERVICE_USER if wish.live else ""
    yield Run(f"check {place}", [[str(place / "bin/edged"), "--version"]], complete.exists, user=user)
    yield WriteFile(complete, "")
    yield PointTo(wish.at(wish.prefix) / "venv", f"versions/{name}")
    yield MakeFolder(wish.at(_COMMANDS))
    yield from (_Command(wish.at(f"{_COMMANDS}/{command}"), _program(wish, command)) for command in _PROGRAMS)
    yield _RemoveOldest(place)


class _RemoveOldest:
    """All versions but the one that runs and the one before it."""

    text = "remove versions from before the last one"

    def __init__(self, current: Path) -> None:
        self._current = current

    def _old(self) -> list[Path]:
        folder = self._current.parent
        if not folder.is_dir():
            return []
        others = [path for path in folder.iterdir() if path != self._current]
        return sorted(others, key=lambda path: path.stat().st_mtime, reverse=True)[1:]

    def needed(self) -> bool:
        return bool(self._old())

    def do(self) -> None:
        for path in self._old():
            Remove(path).do()


def _files(wish: Wish) -> Iterable[Step]:
    source = wish.repo / "systemd"

    def text(path: Path) -> str:
        return path.read_text().replace(_USUAL_PREFIX, str(wish.prefix))

    for unit in UNITS:
        yield WriteFile(wish.at(f"/etc/systemd/system/{unit}"), text(source / unit))
    wanted = wish.machine.drop_ins
    if wish.at("/etc/edged/curve.key").exists() and (wish.machine.systemd >= 247 or not wish.live):
        wanted = [*wanted, "curve-credential"]
    for unit in UNITS:
        for path in _our_drop_ins(wish, unit):
            name = path.stem.partition("-")[2]
            if name in wanted and (unit == UNITS[0] or name not in _FOR_THE_DAEMON):
                yield WriteFile(path, text(source / f"drop-ins/{name}.conf"))
            else:
                yield Remove(path)
    yield WriteFile(wish.at("/etc/tmpfiles.d/edged.conf"), text(source / "tmpfiles.d/edged.conf"))
    modules = wish.at("/etc/modules-load.d/edged.conf")
    if "discrete-gpu" in wanted:
        yield WriteFile(modules, text(source / "modules-load.d/edged.conf"))
    else:
        yield Remove(modules)


def _settings(wish: Wish) -> Iterable[Step]:
    yield MakeFolder(wish.at("/etc/edged/models"), 0o750)
    yield MakeFolder(wish.at("/etc/edged/authorized"), 0o750)
    # In a shell nothing else would tell `edged reload` and its like which folder the service has.
    sample = (wish.repo / "configs/edged.toml").read_text().replace(_NO_STATE_DIR, _NO_STATE_DIR[1:])
    yield WriteFile(wish.at("/etc/edged/edged.toml"), sample, keep=True, mode=0o640)
    yield MakeFolder(wish.at("/var/lib/edged"), 0o750)


def _system(wish: Wish, *, changed: bool) -> Iterable[Step]:
    """Folders and systemd; each of these programs may be run any number of times."""
    running = [["systemctl", "daemon-reload"], ["systemctl", "try-restart", "--no-block", UNITS[0]]]
    yield Run(
        "set owners and modes", [["systemd-tmpfiles", "--create", "/etc/tmpfiles.d/edged.conf"]], lambda: not changed
    )
    if "discrete-gpu" in wish.machine.drop_ins:
        yield Run("load nvidia-uvm", [["modprobe", "nvidia-uvm"]], Path("/dev/nvidia-uvm").exists, must=False)
    if not wish.machine.systemd:
        return
    yield Run("tell systemd, and start a running daemon anew", running, lambda: not changed)
    if wish.enable:
        gpu = wish.machine.jetson or bool(wish.machine.driver)
        units = UNITS if gpu else UNITS[:1]
        yield Run(f"enable {' and '.join(units)}", [["systemctl", "enable", *units]], lambda: _are("enabled", units))
    if wish.start:
        yield Run("start it", [["systemctl", "start", "--no-block", UNITS[0]]], lambda: _are("active", UNITS[:1]))


def _are(state: str, units: Sequence[str]) -> bool:
    """Whether all of some units are enabled, or active; complaints of units that are not there yet are no news."""
    asked = ["systemctl", f"is-{state}", "--quiet", *units]
    return subprocess.run(asked, stderr=subprocess.DEVNULL, check=False).returncode == 0


def _user_exists() -> bool:
    import pwd

    try:
        pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return False
    return True
