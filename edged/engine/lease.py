# SPDX-License-Identifier: Apache-2.0
"""Who runs an engine keeps its folder from being removed: a shared lock, which the kernel ends with the process."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path


class Lease:
    """An engine's folder in use, from now on until `close` or the end of the process.

    It is a courtesy to later builds and never keeps an engine from running: without it (the folder is gone, the file
    system has no locks) only a build that finds the engine outdated could remove it.

    Args:
        folder: of the engine.

    Attributes:
        held: whether the folder is protected.
    """

    def __init__(self, folder: Path) -> None:
        self._fd = -1
        try:
            self._fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            fcntl.flock(self._fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            self.close()
        self.held = self._fd >= 0

    def close(self) -> None:
        """Give it back; a second time does nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self.held = False


@contextlib.contextmanager
def unused(folder: Path) -> Iterator[bool]:
    """Whether nobody has a lease on a folder; if so, nobody gets one meanwhile.

    Raises:
        OSError: it cannot be told, so that it has to be taken as used.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(fd)
