# SPDX-License-Identifier: Apache-2.0
"""Endpoints on this machine: whether they can be bound, and holding one against other daemons.

ZeroMQ binds an ipc path that somebody else already serves without a word and takes it over. So the supervisor holds a
lock beside the socket for as long as the daemon lives, whatever happens to the process that publishes.
This module does without zmq, so that the supervisor need not load it.
"""

from __future__ import annotations

import errno
import fcntl
import ipaddress
import os
import select
import socket
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from edged.errors import EndpointInUseError, SettingsError
from edged.stages.publish.address import BIND, DEFAULT_ENDPOINT, Endpoint, is_loopback, parse_endpoint

__all__ = [
    "DEFAULT_ENDPOINT",
    "Endpoint",
    "EndpointLock",
    "check_endpoint",
    "hold",
    "is_loopback",
    "parse_binds",
    "parse_endpoint",
]

_LOCK_TRIES = 100
_LEAVING_S = 1.0  # how long a listener without lock gets to go away: its daemon may just have been killed


def check_endpoint(endpoint: Endpoint, *, insecure: bool = False, curve: bool = False) -> None:
    """Check, without binding, that an endpoint may and can be bound.

    Args:
        endpoint: what to check.
        insecure: ``publish.insecure``.
        curve: whether ``[publish.curve]`` is configured.

    Raises:
        SettingsError: reachable by other machines without protection, or no socket can be made at the path.
    """
    if not (is_loopback(endpoint) or insecure or curve):
        raise SettingsError(
            f"{endpoint.text} can be reached from other machines and nothing protects it",
            where=BIND,
            remedy="bind to 127.0.0.1, set up [publish.curve], or allow it with publish.insecure = true",
        )
    if endpoint.path is None:
        return
    folder = endpoint.path.parent
    if not folder.is_dir():
        raise SettingsError(
            f"the folder of {endpoint.text} does not exist", where=BIND, remedy=f"create {folder} or bind elsewhere"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise SettingsError(
            f"the folder of {endpoint.text} cannot be written",
            where=BIND,
            remedy=f"give this user write access to {folder} or bind elsewhere",
        )
    if endpoint.path.exists() and not endpoint.path.is_socket():
        raise SettingsError(
            f"{endpoint.path} exists and is not a socket", where=BIND, remedy="remove it or bind elsewhere"
        )


def parse_binds(
    texts: Iterable[str], *, base: Path | None = None, insecure: bool = False, curve: bool = False
) -> list[Endpoint]:
    """Read and check all of ``publish.bind``.

    Raises:
        SettingsError: as `parse_endpoint` and `check_endpoint`; or none given, or one given twice.
    """
    endpoints = [parse_endpoint(text, base=base) for text in texts]
    if not endpoints:
        raise SettingsError("no endpoint is given", where=BIND, remedy=f'write bind = ["{DEFAULT_ENDPOINT}"]')
    for index, endpoint in enumerate(endpoints):
        check_endpoint(endpoint, insecure=insecure, curve=curve)
        if endpoint in endpoints[:index]:
            raise SettingsError(f"{endpoint.text} is given twice", where=BIND, remedy="remove one")
    return endpoints


class EndpointLock:
    """An endpoint held by this process; made by `hold`. Use it as a context manager or call `release`."""

    def __init__(self, endpoint: Endpoint, lock: tuple[int, Path] | None) -> None:
        self.endpoint = endpoint
        self._lock = lock

    def release(self) -> None:
        """Remove the socket file and give the endpoint up; the publisher must be closed by then. Harmless twice."""
        if self._lock is None:
            return
        (fd, lock_path), self._lock = self._lock, None
        try:
            if self.endpoint.path is not None and self.endpoint.path.is_socket():
                self.endpoint.path.unlink(missing_ok=True)
            # Removed while it is still locked: whoever opened it meanwhile notices that it is no longer the file
            # at this path, and tries again.
            lock_path.unlink(missing_ok=True)
        finally:
            os.close(fd)

    def __enter__(self) -> EndpointLock:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def hold(endpoint: Endpoint) -> EndpointLock:
    """Take an endpoint for this process, before anything is bound to it.

    An ipc endpoint is held by an exclusive lock on ``<socket path>.lock``, which the kernel frees however the holder
    ends; a stale socket or lock file is no obstacle. A tcp endpoint is only probed: its bind is exclusive by itself.

    Raises:
        EndpointInUseError: another daemon holds it, or some process listens there.
        SettingsError: the lock file or the socket cannot be opened.
    """
    if endpoint.path is None:
        _probe_tcp(endpoint)
        return EndpointLock(endpoint, None)
    check_endpoint(endpoint)
    lock_path = endpoint.path.with_name(endpoint.path.name + ".lock")
    lock = EndpointLock(endpoint, (_lock_file(endpoint, lock_path), lock_path))
    try:
        _probe_ipc(endpoint, endpoint.path)
    except BaseException:
        # The socket belongs to somebody else: give up the lock only.
        lock.endpoint = Endpoint("ipc", endpoint.text)
        lock.release()
        raise
    return lock


def _in_use(endpoint: Endpoint, holder: str) -> EndpointInUseError:
    return EndpointInUseError(
        f"already in use by {holder}",
        where=endpoint.text,
        remedy="stop it, or give this daemon another publish.bind",
    )


def _lock_file(endpoint: Endpoint, path: Path) -> int:
    for _ in range(_LOCK_TRIES):
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise SettingsError(
                f"{path} cannot be opened: {error.strerror}",
                where=BIND,
                remedy="remove it, or give this user access to its folder",
            ) from error
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(fd, path):
                os.ftruncate(fd, 0)
                os.pwrite(fd, b"%d\n" % os.getpid(), 0)
                return fd
        except BlockingIOError as error:
            pid = os.pread(fd, 20, 0).decode("ascii", "replace").strip()
            os.close(fd)
            raise _in_use(endpoint, f"the edged daemon with pid {pid}" if pid else "another edged daemon") from error
        os.close(fd)
    raise _in_use(endpoint, "daemons that start and stop all the time")


def _is_at(fd: int, path: Path) -> bool:
    """Whether an open file is still the one at a path: its last holder may have removed it in between."""
    try:
        there = os.stat(path, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return os.path.samestat(os.fstat(fd), there)


def _probe_ipc(endpoint: Endpoint, path: Path) -> None:
    deadline = time.monotonic() + _LEAVING_S
    while True:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            code = probe.connect_ex(os.fsencode(path))
            if code in (errno.ENOENT, errno.ECONNREFUSED):
                return
            if code not in (0, errno.EAGAIN):
                raise SettingsError(
                    f"{path} cannot be used: {os.strerror(code)}", where=BIND, remedy="remove it or bind elsewhere"
                )
            if code == errno.EAGAIN or not _hangs_up(probe, deadline):
                raise _in_use(endpoint, "a process that listens there")


def _hangs_up(probe: socket.socket, deadline: float) -> bool:
    """Wait until the other side closes; False when the deadline comes first."""
    poller = select.poll()
    poller.register(probe, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        if poller.poll(left * 1000):
            try:
                if not probe.recv(4096):
                    return True
            except ConnectionError:
                return True
    return False


def _probe_tcp(endpoint: Endpoint) -> None:
    host = "0.0.0.0" if endpoint.host == "*" else endpoint.host
    try:
        family = socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET
    except ValueError:
        return  # an interface name: only the bind itself can tell
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As ZeroMQ binds: connections in TIME_WAIT are no obstacle, a listener is.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, endpoint.port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise _in_use(endpoint, "another process") from error
            raise SettingsError(
                f"{endpoint.text} cannot be bound: {error.strerror}",
                where=BIND,
                remedy="bind to an address of this machine",
            ) from error
