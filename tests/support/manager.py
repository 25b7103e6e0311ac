# SPDX-License-Identifier: Apache-2.0
"""A service manager, as far as its notification protocol goes (sd_notify(3)), with NotifyAccess=main.

Like systemd it takes datagrams from a Unix socket, looks at the credentials that the kernel attached to them, minds
those of the main process only, and starts its watchdog when the service says that it is ready.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

_CREDENTIALS = struct.Struct("3i")
_TIME = struct.Struct("qq")
_SO_TIMESTAMPNS = 35  # of x86 and ARM; Python has no name for it


class Told(NamedTuple):
    """One message.

    Attributes:
        at: when it was sent, monotonic seconds.
        pid: who sent it, as the kernel says.
        fields: its assignments.
    """

    at: float
    pid: int
    fields: dict[str, str]


class Manager:
    """Listens at an address; give `environment` to the service.

    Args:
        address: a path, or a name in the abstract namespace behind ``@``.
        watchdog_s: WatchdogSec=; 0 for none.
    """

    def __init__(self, address: str, watchdog_s: float = 0.0) -> None:
        self.address = address
        self.watchdog_s = watchdog_s
        self.told: list[Told] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)

    @property
    def environment(self) -> dict[str, str]:
        """What a service finds in its environment."""
        found = {"NOTIFY_SOCKET": self.address}
        if self.watchdog_s:
            found["WATCHDOG_USEC"] = str(int(self.watchdog_s * 1e6))
        return found

    def listen(self, until: Callable[[], bool], timeout_s: float) -> bool:
        """Take in what is told until a condition holds; whether it did within the time."""
        end = time.monotonic() + timeout_s
        while not until():
            # What lies there already is taken in also where the time was over before anybody could look.
            left = end - time.monotonic()
            if select.select([self._socket], [], [], max(0.0, min(left, 0.05)))[0]:
                self._receive()
            elif left <= 0:
                return False
        return True

    def _receive(self) -> None:
        room = socket.CMSG_SPACE(_CREDENTIALS.size) + socket.CMSG_SPACE(_TIME.size)
        data, ancillary, flags, _ = self._socket.recvmsg(4096, room)
        assert not flags & socket.MSG_TRUNC, "longer than systemd takes"
        ((seconds, nanoseconds),) = [_TIME.unpack(each) for _, kind, each in ancillary if kind == _SO_TIMESTAMPNS]
        # The test may have been busy with something else: what counts is when it was sent.
        ago_s = time.time() - (seconds + nanoseconds / 1e9)
        (pid,) = [_CREDENTIALS.unpack(each)[0] for _, kind, each in ancillary if kind == socket.SCM_CREDENTIALS]
        lines = data.decode().split("\n")
        assert all("=" in line for line in lines), lines
        self.told.append(Told(time.monotonic() - ago_s, pid, dict(line.split("=", 1) for line in lines)))

    def said(self, key: str, value: str | None = None) -> list[Told]:
        """Messages that hold a field, with a value if given."""
        return [each for each in self.told if key in each.fields and value in (None, each.fields[key])]

    def hungry(self) -> bool:
        """Whether systemd would send SIGABRT by now."""
        fed = self.said("READY")[:1] + self.said("WATCHDOG", "1")
        return bool(self.watchdog_s and fed) and time.monotonic() - fed[-1].at > self.watchdog_s

    def __enter__(self) -> Manager:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()
        if not self.address.startswith("@"):
            Path(self.address).unlink(missing_ok=True)


def environment_of(pid: int) -> dict[str, str]:
    """A process's environment at its start."""
    pairs = Path(f"/proc/{pid}/environ").read_bytes().decode(errors="replace").split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def unused_name() -> str:
    """An address in the abstract namespace that no other test run has."""
    return f"@edged-test-{os.getpid()}-{time.monotonic_ns()}"
