# SPDX-License-Identifier: Apache-2.0
"""A bell that the CUDA driver rings: it sets an eventfd when a stream gets there, and no Python runs for it.

The driver can call a C function with one argument from a thread of its own. Here that is C's ``fclose`` with a stream
over a duplicate of the descriptor, which holds eight unwritten bytes: closing writes them, which sets the eventfd, and
frees all that was made for it. So each ring has a stream of its own: nothing is shared with the next one, however late
the driver comes, and nothing has to be kept alive or ended in order. On a lost GPU the driver never calls, and the few
streams that are left end with the process.
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
    """Sets an eventfd when a stream gets to a point.

    Args:
        launch: the driver's ``cuLaunchHostFunc``.
        wake_fd: the eventfd; −1 for one of its own.
    """

    def __init__(self, launch: Launch, wake_fd: int = -1) -> None:
        self._launch = launch
        self._own = wake_fd < 0
        self._wake = Wake(None if self._own else wake_fd)
        library = ctypes.CDLL(None, use_errno=True)
        self._fdopen, self._fwrite, self._fclose = library.fdopen, library.fwrite, library.fclose
        self._fdopen.argtypes = (ctypes.c_int, ctypes.c_char_p)
        self._fdopen.restype = ctypes.c_void_p
        self._fwrite.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_size_t, ctypes.c_void_p)
        self._fwrite.restype = ctypes.c_size_t
        self._fclose.argtypes = (ctypes.c_void_p,)
        self._ring = _address(self._fclose)

    def enqueue(self, stream: int) -> int:
        """Have it ring when the stream has got through everything that it holds now.

        Returns:
            The driver's error number; then it has rung already.
        """
        file = self._loaded()
        code = self._launch(stream, self._ring, file)
        if code:
            self._fclose(file)
        return code

    def _loaded(self) -> int:
        """A C stream with eight bytes that are written when it is closed."""
        fd = os.dup(self._wake.fd)
        file: int | None = self._fdopen(fd, b"w")
        if file is None:
            os.close(fd)
            raise InternalError(f"fdopen failed: {os.strerror(ctypes.get_errno())}", where="gpu")
        if self._fwrite(_ONE, 8, 1, file) != 1:
            self._fclose(file)
            raise InternalError(f"fwrite failed: {os.strerror(ctypes.get_errno())}", where="gpu")
        return file

    def wait(self, timeout_s: float) -> bool:
        """Wait until the eventfd is set, then unset it; False when the time ran out first."""
        return self._wake.wait(timeout_s)

    def set(self) -> None:
        """Set the eventfd."""
        self._wake.set()

    def close(self) -> None:
        """Close what is its own."""
        if self._own:
            self._wake.close()


def _address(function: object) -> int:
    address = ctypes.cast(function, ctypes.c_void_p).value  # type: ignore[arg-type]
    if address is None:
        raise InternalError("a function of the C library has no address", where="gpu")
    return address
