# SPDX-License-Identifier: Apache-2.0
"""A bell that the CUDA driver rings: it sets an eventfd when a stream gets there, and no Python runs for it.

The driver can call a C function with one argument from a thread of its own. Here that is C's ``fflush`` with a stream
over a duplicate of the descriptor, which holds eight unwritten bytes: flushing writes them, which sets the eventfd.
A bell has one such stream, and before it is loaded again it must have been flushed. If the driver comes so late that it
was not, that ring gets a stream of its own, and the function is ``fclose``: it writes as well, and frees all that was
made for it. So no ring is swallowed by another one. On a lost GPU the driver never calls, and the few streams that are
left end with the process.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable

from edged.errors import InternalError
from edged.shm.wake import Wake

LAUNCH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p)
"""Type of ``cuLaunchHostFunc``: stream, function, its argument; returns the error number."""
Launch = Callable[[int, int, int], int]

_ONE = (1).to_bytes(8, "little")


class Bell:
    """Sets an eventfd when a stream gets to a point. Loaded by one thread.

    Args:
        launch: the driver's ``cuLaunchHostFunc``.
        wake_fd: the eventfd; −1 for one of its own.

    Attributes:
        shared: whether others set the eventfd, too.
    """

    def __init__(self, launch: Launch, wake_fd: int = -1) -> None:
        self._launch = launch
        self.shared = wake_fd >= 0
        self._wake = Wake(wake_fd if self.shared else None)
        library = ctypes.CDLL(None, use_errno=True)
        self._fdopen, self._fwrite, self._fclose = library.fdopen, library.fwrite, library.fclose
        self._fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)
        self._fdopen.restype = ctypes.c_void_p
        self._fwrite.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        self._fwrite.restype = ctypes.c_size_t
        self._fclose.argtypes = (ctypes.c_void_p,)
        self._fflush = library.fflush
        self._fflush.argtypes = (ctypes.c_void_p,)
        self._pending = library["__fpending"]
        self._pending.argtypes = (ctypes.c_void_p,)
        self._pending.restype = ctypes.c_size_t
        self._flushing, self._closing = _address(self._fflush), _address(self._fclose)
        self._file = self._opened()

    def enqueue(self, stream: int) -> int:
        """Have it ring when the stream has got through everything that it holds now.

        Returns:
            The driver's error number; then it has rung already.
        """
        file = self._file
        if not file:
            raise InternalError("a bell was to ring after its end", where="gpu")
        end, ring = self._fflush, self._flushing
        if self._pending(file):
            file, end, ring = self._opened(), self._fclose, self._closing
        if self._fwrite(_ONE, 8, 1, file) != 1:
            raise InternalError(f"fwrite failed: {os.strerror(ctypes.get_errno())}", where="gpu")
        code = self._launch(stream, ring, file)
        if code:
            end(file)
        return code

    def _opened(self) -> int:
        """A C stream that writes to a duplicate of the eventfd."""
        fd = os.dup(self._wake.fd)
        file: int | None = self._fdopen(fd, b"w")
        if file is None:
            os.close(fd)
            raise InternalError(f"fdopen failed: {os.strerror(ctypes.get_errno())}", where="gpu")
        return file

    def wait(self, timeout_s: float) -> bool:
        """Wait until the eventfd is set, then unset it; False when the time ran out first."""
        return self._wake.wait(timeout_s)

    def set(self) -> None:
        """Set the eventfd."""
        self._wake.set()

    def close(self) -> None:
        """Close what is its own."""
        # With a ring to come the driver still has the stream: it is left to the process.
        if self._file and not self._pending(self._file):
            self._fclose(self._file)
        self._file = 0
        if not self.shared:
            self._wake.close()


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    if address is None:
        raise InternalError("a function of the C library has no address", where="gpu")
    return address
