# SPDX-License-Identifier: Apache-2.0
"""A semaphore that the CUDA driver posts: the timed wait that CUDA lacks.

The driver calls C's ``sem_post`` from a thread of its own when a stream gets there; no Python runs in that thread, so
nobody has to win the interpreter lock for it. `Semaphore.wait` gives that lock away while it sleeps.
"""

from __future__ import annotations

import ctypes
import errno
import os
import time

from edged.errors import DeviceUnavailableError, InternalError

_WORDS = 8  # sem_t takes 32 bytes on 64-bit Linux
_CLOCK_MONOTONIC = 1


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Semaphore:
    """A POSIX semaphore, at 0 when made.

    Attributes:
        address: of the semaphore, for whoever posts it.
        post: address of the C function ``sem_post``.

    Raises:
        DeviceUnavailableError: the C library has no wait on the monotonic clock.
    """

    def __init__(self) -> None:
        library = ctypes.CDLL(None, use_errno=True)
        try:
            self._wait = library.sem_clockwait
        except AttributeError as error:
            raise DeviceUnavailableError(
                "the C library has no sem_clockwait", where="gpu", remedy="use a system with glibc 2.30 or newer"
            ) from error
        self._memory = (ctypes.c_uint64 * _WORDS)()
        self.address = ctypes.addressof(self._memory)
        self._wait.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.POINTER(_Timespec))
        self._try = library.sem_trywait
        self._try.argtypes = (ctypes.c_void_p,)
        library.sem_init.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_uint)
        if library.sem_init(self.address, 0, 0) != 0:
            raise InternalError(f"sem_init failed: {os.strerror(ctypes.get_errno())}", where="gpu")
        post = ctypes.cast(library.sem_post, ctypes.c_void_p).value
        if post is None:
            raise InternalError("sem_post has no address", where="gpu")
        self.post: int = post

    def wait(self, timeout_s: float) -> bool:
        """Take one post; False when none came in time."""
        end_ns = time.monotonic_ns() + int(timeout_s * 1e9)
        until = _Timespec(end_ns // 1_000_000_000, end_ns % 1_000_000_000)
        while self._wait(self.address, _CLOCK_MONOTONIC, ctypes.byref(until)) != 0:
            problem = ctypes.get_errno()
            if problem == errno.ETIMEDOUT:
                return False
            if problem != errno.EINTR:
                raise InternalError(f"sem_clockwait failed: {os.strerror(problem)}", where="gpu")
        return True

    def drain(self) -> None:
        """Take all posts that are there."""
        while self._try(self.address) == 0:
            pass
