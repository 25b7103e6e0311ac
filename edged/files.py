# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

TEMPORARY = ".tmp"
"""How the names of files end that are not whole yet; what a killed process left may be removed."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content; after a crash it holds the old content or the new."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        adopt(Path(name))
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def make_folder(path: Path) -> None:
    """Make a folder and those that it lies in, where they are missing; each belongs to whom `adopt` says.

    Raises:
        OSError: it cannot be made.
    """
    missing = []
    while not path.is_dir():
        missing.append(path)
        if path.parent == path:
            break
        path = path.parent
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        adopt(folder)


def remedy_for(error: OSError, otherwise: str) -> str:
    """What to do where a file cannot be written: another permission does not help on a full disk."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return f"free space there, or {otherwise}" if full else f"make the folder writable, or {otherwise}"


def adopt(path: Path) -> None:
    """Give what root has just made to the owner of the folder that it lies in.

    An engine may be built by root for a daemon that runs as another user, who has to be able to replace and to remove
    what belongs to its state folder. Whoever is not root can give nothing away, and needs not.

    Raises:
        OSError: it cannot be given.
    """
    if os.geteuid() != 0:
        return
    mine, folder = path.lstat(), path.parent.stat()
    # The owner of the folder may have put something else in its place: only what is root's alone is given away.
    if mine.st_uid == 0 != folder.st_uid and (stat.S_ISDIR(mine.st_mode) or mine.st_nlink == 1):
        os.chown(path, folder.st_uid, folder.st_gid, follow_symlinks=False)
