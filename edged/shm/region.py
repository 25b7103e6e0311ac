# SPDX-License-Identifier: Apache-2.0
"""Anonymous shared memory: a sealed memfd, handed from process to process as a descriptor.

Nothing has a name in the file system, so nothing is left behind after ``kill -9``, and containers' small ``/dev/shm``
does not matter.
"""

from __future__ import annotations

import fcntl
import mmap
import os

from edged.errors import SharedMemoryError

PAGE = mmap.PAGESIZE


def align(size: int, to: int = PAGE) -> int:
    """Round ``size`` (bytes) up to a multiple of ``to``."""
    return -(-size // to) * to


class Region:
    """A mapped memfd.

    The region owns its descriptor. Its size is sealed, so no process can shrink it under another's feet (which would be
    SIGBUS for the reader).
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.size = os.fstat(fd).st_size
        if self.size == 0:
            raise SharedMemoryError("the shared-memory region is empty", where=f"descriptor {fd}")
        self.map = mmap.mmap(fd, self.size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)

    @classmethod
    def create(cls, name: str, size: int) -> Region:
        """Make a zero-filled region of at least ``size`` bytes; ``name`` shows in ``/proc/<pid>/maps`` only."""
        fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            os.ftruncate(fd, align(size))
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
            return cls(fd)
        except BaseException:
            os.close(fd)
            raise

    def words(self, offset: int, count: int) -> memoryview:
        """View of ``count`` signed 64-bit words from byte ``offset``."""
        return memoryview(self.map)[offset : offset + 8 * count].cast("q")

    def close(self) -> None:
        """Close the descriptor; the mapping goes once the last view of it does."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
        try:
            self.map.close()
        except BufferError:
            # Arrays over the mapping are still alive somewhere; the mapping is freed with the last of them.
            return
