# SPDX-License-Identifier: Apache-2.0
"""What the service can reach: its user has few rights, and its unit hides some folders altogether.

An environment borrows the Python that it was made with. One that lies where root alone may look would be installed
without a word and never start.
"""

from __future__ import annotations

import os
import pwd
import stat
import sys
from collections.abc import Mapping
from pathlib import Path

from tools.installer.steps import StepError

SERVICE_USER = "edged"
HIDDEN = {
    "/root": "ProtectHome=yes",
    "/home": "ProtectHome=yes",
    "/run/user": "ProtectHome=yes",
    "/tmp": "PrivateTmp=yes",
    "/var/tmp": "PrivateTmp=yes",
}
"""Folders that the units keep from the service, and the line that does."""


def interpreter() -> Path:
    """The Python that an environment made here borrows: the one behind this one, where this one is an environment's."""
    return Path(os.path.realpath(getattr(sys, "_base_executable", "") or sys.executable))


def require_interpreter(executable: Path, home: Path) -> None:
    """Refuse a Python that the service could not run.

    Args:
        executable: its program.
        home: the folder of its library.

    Raises:
        StepError: it lies where the service cannot reach it; with what to do.
    """
    why = unreachable(executable) or unreachable(home)
    if why:
        raise StepError(
            f"the service could not run {executable}: {why}; install the system's Python (on Ubuntu: apt-get install "
            "python3 python3-venv), or name one elsewhere: sudo PYTHON=/path/to/python3 tools/install"
        )


def require_prefix(prefix: Path) -> None:
    """Refuse a place for the program that the service could not reach.

    Raises:
        StepError: it could not.
    """
    why = unreachable(prefix)
    if why:
        raise StepError(f"--prefix {prefix}: {why}; choose a folder such as /opt/edged")


def unreachable(path: Path, hidden: Mapping[str, str] = HIDDEN) -> str:
    """Why the service cannot reach a file or folder; empty where it can, as far as can be seen from outside.

    Args:
        path: what it is to reach; what does not exist yet is judged by the folders above it.
        hidden: folders that are kept from it, and by what.
    """
    path = path.resolve()
    for name, line in hidden.items():
        if path.is_relative_to(Path(name).resolve()):
            return f"it lies below {name}, which the unit hides from it ({line})"
    for folder in (path.parent, *path.parent.parents):
        if folder.is_dir() and not _may_enter(folder):
            return f"the user {SERVICE_USER} may not enter {folder} (mode {stat.S_IMODE(folder.stat().st_mode):04o})"
    return ""


def _may_enter(folder: Path) -> bool:
    """Whether the service's user may, by the modes; where there is no such user yet, whether anybody may."""
    found = folder.stat()
    try:
        user = pwd.getpwnam(SERVICE_USER)
    except KeyError:
        return bool(found.st_mode & stat.S_IXOTH)
    if found.st_uid == user.pw_uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid in os.getgrouplist(SERVICE_USER, user.pw_gid):
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
