# SPDX-License-Identifier: Apache-2.0
"""The state directory: writable, and on a disk with room."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, warning
from edged.doctor.machine import Machine
from edged.doctor.needs import MIB
from edged.doctor.situation import Situation

_LEAST = 200 * MIB
_GOOD = 1024 * MIB
_ENGINES_PER_MODEL = 4  # current ones, older ones, and one that is being written


def _existing(path: Path) -> Path:
    """The folder itself, or the nearest one above it that is there."""
    while not path.exists() and path.parent != path:
        path = path.parent
    return path


def _state_dir(situation: Situation) -> Outcome:
    folder = situation.settings().daemon.state_dir
    there = _existing(folder)
    give = f"sudo install -d -o edged -g edged {folder}  # or choose another daemon.state_dir"
    try:
        # Trying is the only way: a read-only disk or a full one passes every look at modes.
        with tempfile.NamedTemporaryFile(dir=there, prefix=".edged-doctor."):
            pass
    except OSError as error:
        what = "" if there == folder else f" (for {folder}, which is not there yet)"
        return problem(
            f"{there} cannot be written{what}",
            [f"{there}: {error.strerror}", *_mount_lines(situation.machine, there)],
            [give],
        )
    kind = _filesystem(situation.machine, there)
    if kind in ("tmpfs", "ramfs"):
        return warning(
            f"{folder} is in memory: engines are gone after a reboot",
            _mount_lines(situation.machine, there),
            ['[daemon] state_dir = "/var/lib/edged"  # in the settings'],
        )
    return ok(f"{folder} can be written", _mount_lines(situation.machine, there))


def _mount(machine: Machine, folder: Path) -> tuple[str, str] | None:
    """Mount point and kind of the file system that a folder lies on."""
    best: tuple[str, str] | None = None
    real = str(folder.resolve())
    for line in (machine.text("/proc/self/mountinfo") or "").splitlines():
        found = re.match(r"\S+ \S+ \S+ \S+ (\S+) .*? - (\S+) ", line)
        if found is None:
            continue
        point = found[1].replace("\\040", " ")
        inside = point == "/" or real == point or real.startswith(f"{point}/")
        if inside and (best is None or len(point) >= len(best[0])):
            best = point, found[2]
    return best


def _filesystem(machine: Machine, folder: Path) -> str:
    found = _mount(machine, folder)
    return found[1] if found else "unknown"


def _mount_lines(machine: Machine, folder: Path) -> list[str]:
    found = _mount(machine, folder)
    return [f"{folder} lies on {found[0]} ({found[1]})"] if found else [f"{folder}"]


STATE_DIR = Check("state-dir", "daemon.state_dir can be written and outlasts a reboot", CONFIGURATION, _state_dir)


def _disk(situation: Situation) -> Outcome:
    settings = situation.settings()
    folder = _existing(settings.daemon.state_dir)
    try:
        free = situation.machine.free_bytes(folder)
    except OSError as error:
        raise SkippedError(f"the disk of {folder} does not tell its room") from error
    try:
        weights = situation.spec().onnx.stat().st_size
    except (OSError, SkippedError):
        weights = 0
    wanted = max(_LEAST, _ENGINES_PER_MODEL * weights)
    evidence = [f"{folder}: {free // MIB} MiB free", f"an ONNX file of {weights // MIB} MiB"]
    remedy = [
        f"df -h {folder}; sudo du -xh --max-depth=2 {folder} | sort -h | tail",
        "sudo journalctl --vacuum-size=200M",
    ]
    if free < wanted:
        return problem(f"{free // MIB} MiB are free, {wanted // MIB} MiB are needed for engines", evidence, remedy)
    if free < max(_GOOD, 2 * wanted):
        return warning(f"only {free // MIB} MiB are free", evidence, remedy)
    return ok(f"{free // MIB} MiB free", evidence)


DISK = Check("disk", "room on the disk of daemon.state_dir", CONFIGURATION, _disk)
