# SPDX-License-Identifier: Apache-2.0
"""A table of 64-bit words that changes atomically, even when the changing process is killed half-way.

Python has no atomics and ARM orders memory weakly, so words change hands only under a lock. The lock is freed by the
kernel when its holder dies, which may leave a change half done. Therefore a change of several words is first written
to a redo log in the same memory: absolute values, so that replaying them twice does no harm. Whoever takes the lock
next finishes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from edged.errors import SharedMemoryError
from edged.shm.lock import FileLock
from edged.shm.region import Region

_MAGIC = 0x65646765_64303031
_LOG_ENTRIES = 64
_HEADER_WORDS = 2 + 2 * _LOG_ENTRIES
HEADER_BYTES = 8 * _HEADER_WORDS


class Table:
    """``words`` signed 64-bit words at the start of a region, behind a lock and a redo log.

    Reading a single word needs no lock. Reading several that belong together, and every change, does: use `locked`.
    """

    def __init__(self, region: Region, words: int, *, create: bool = False) -> None:
        self._log = region.words(0, _HEADER_WORDS)
        self.words = region.words(HEADER_BYTES, words)
        self._lock = FileLock(region.fd)
        if create:
            self._log[0] = _MAGIC
        elif self._log[0] != _MAGIC:
            raise SharedMemoryError("a shared-memory region was not made by this version of edged")

    def be_patient_for(self, seconds: float) -> None:
        """How long to wait for the lock from now on."""
        self._lock.deadline_s = seconds

    @contextmanager
    def locked(self, deadline_s: float | None = None) -> Iterator[None]:
        """Hold the lock; finishes a change that a killed process left half done.

        Raises:
            SharedMemoryError: the lock was not free within the deadline.
        """
        self._lock.acquire(deadline_s)
        try:
            if self._log[1]:
                self._replay()
            yield
        finally:
            self._lock.release()

    def change(self, changes: list[tuple[int, int]]) -> None:
        """Set words to new values, all or none; call under `locked`.

        Args:
            changes: (word index, new value), at most 64.
        """
        log = self._log
        if len(changes) == 1:
            index, value = changes[0]
            self.words[index] = value
            return
        place = 2
        for index, value in changes:
            log[place] = index
            log[place + 1] = value
            place += 2
        log[1] = len(changes)
        for index, value in changes:
            self.words[index] = value
        log[1] = 0

    def _replay(self) -> None:
        for entry in range(self._log[1]):
            self.words[self._log[2 + 2 * entry]] = self._log[3 + 2 * entry]
        self._log[1] = 0

    def close(self) -> None:
        """Release the views and the lock's descriptor."""
        self._lock.close()
        self._log.release()
        self.words.release()
