# SPDX-License-Identifier: Apache-2.0
"""A lock between processes that the kernel frees when its holder dies.

Open-file-description record locks exclude threads as well as processes, provided that each party has its own open file
description: so the memfd is opened again through ``/proc/self/fd``. ``lockf`` would not do: it belongs to the process
    and ignores threads.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
import time

from edged.errors import SharedMemoryError

_DEADLINE_S = 2.0
_LONGEST_PAUSE_S = 0.002
_FEWEST_TRIES = 20


def _record(kind: int) -> bytes:
    # struct flock {short l_type; short l_whence; off_t l_start; off_t l_len; pid_t l_pid}; l_pid must be 0.
    return struct.pack("@hhqqi4x", kind, os.SEEK_SET, 0, 1, 0)


LOCK = _record(fcntl.F_WRLCK)
UNLOCK = _record(fcntl.F_UNLCK)
"""For ``fcntl(fd, F_OFD_SETLK, …)``: `edged.shm.table.Held` asks by itself, which spares two calls a lock."""


class FileLock:
    """Exclusive lock on the first byte of a file.

    Held for microseconds only. A party that cannot get it within the deadline raises instead of hanging with a holder
    that was stopped.
    """

    def __init__(self, fd: int, deadline_s: float = _DEADLINE_S) -> None:
        self.fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self.deadline_s = deadline_s

    def try_acquire(self) -> bool:
        """Take the lock if it is free."""
        try:
            fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, LOCK)
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True

    def acquire(self, deadline_s: float | None = None) -> None:
        """Take the lock.

        Raises:
            SharedMemoryError: another process held it for the whole deadline.
        """
        if self.try_acquire():
            return
        # The kernel has no record lock with a time-out, and one without would hang with a stopped holder. Contention is
        # rare and lasts microseconds, so a few short pauses are all that is ever needed.
        limit = self.deadline_s if deadline_s is None else deadline_s
        end = time.monotonic() + limit
        pause = 0.00002
        tries = 0
        while not self.try_acquire():
            tries += 1
            # Tries count as well as time: after a freeze of the whole machine the holder, too, needs a moment.
            if tries >= _FEWEST_TRIES and time.monotonic() >= end:
                raise SharedMemoryError(
                    f"a lock in shared memory was held for {limit:g} s",
                    remedy="a process of edged is stopped or stuck; look for one in state T or D",
                )
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_S)

    def release(self) -> None:
        """Give the lock back."""
        fcntl.fcntl(self.fd, fcntl.F_OFD_SETLK, UNLOCK)

    def close(self) -> None:
        """Close the descriptor, which frees a lock that is still held."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
