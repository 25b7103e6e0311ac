# SPDX-License-Identifier: Apache-2.0
"""A table of 64-bit words that changes atomically, even when the changing process is killed half-way.

Python has no atomics and ARM orders memory weakly, so words change hands only under a lock. The lock is freed by the
kernel when its holder dies, which may leave a change half done. Therefore a change of several words is first written
to a redo log in the same memory: absolute values, so that replaying them twice does no harm. Whoever takes the lock
next finishes it.
"""

from __future__ import annotations

from fcntl import F_OFD_SETLK, fcntl
from types import TracebackType

from edged.errors import SharedMemoryError
from edged.shm.lock import LOCK, UNLOCK, FileLock
from edged.shm.region import Region

_MAGIC = 0x65646765_64303031
_LOG_ENTRIES = 64
_HEADER_WORDS = 2 + 2 * _LOG_ENTRIES
HEADER_BYTES = 8 * _HEADER_WORDS


class Held:
    """Holds a table's lock for a ``with`` block; one object serves all (half the time of a generator's)."""

    __slots__ = ("_deadline_s", "_lock", "_log", "_replay")

    def __init__(self, table: Table, deadline_s: float | None) -> None:
        self._lock, self._log, self._replay = table.lock, table.log, table.replay
        self._deadline_s = deadline_s

    def __enter__(self) -> None:
        try:
            fcntl(self._lock.fd, F_OFD_SETLK, LOCK)
        except OSError:
            # Held by somebody else, or what it raises then.
            self._lock.acquire(self._deadline_s)
        if self._log[1]:
            try:
                self._replay()
            except BaseException:
                self._lock.release()
                raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        fcntl(self._lock.fd, F_OFD_SETLK, UNLOCK)


class Table:
    """``words`` signed 64-bit words at the start of a region, behind a lock and a redo log.

    Reading a single word needs no lock. Reading several that belong together, and every change, does: use `locked`.
    """

    def __init__(self, region: Region, words: int, *, create: bool = False) -> None:
        self.log = region.words(0, _HEADER_WORDS)
        self.words = region.words(HEADER_BYTES, words)
        self.lock = FileLock(region.fd)
        self._held = Held(self, None)
        if create:
            self.log[0] = _MAGIC
        elif self.log[0] != _MAGIC:
            raise SharedMemoryError("a shared-memory region was not made by this version of edged")

    def be_patient_for(self, seconds: float) -> None:
        """How long to wait for the lock from now on."""
        self.lock.deadline_s = seconds

    def locked(self, deadline_s: float | None = None) -> Held:
        """Hold the lock; finishes a change that a killed process left half done.

        Raises:
            SharedMemoryError: the lock was not free within the deadline.
        """
        return self._held if deadline_s is None else Held(self, deadline_s)

    def change(self, changes: list[tuple[int, int]]) -> None:
        """Set words to new values, all or none; call under `locked`.

        Args:
            changes: (word index, new value), at most 64.
        """
        log = self.log
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

    def replay(self) -> None:
        """Finish a change that was left half done; under the lock."""
        for entry in range(self.log[1]):
            self.words[self.log[2 + 2 * entry]] = self.log[3 + 2 * entry]
        self.log[1] = 0

    def close(self) -> None:
        """Release the views and the lock's descriptor."""
        self.lock.close()
        self.log.release()
        self.words.release()
