# SPDX-License-Identifier: Apache-2.0
"""What the service manager is told: systemd's notification protocol over a datagram socket (sd_notify(3)).

Without a manager (``NOTIFY_SOCKET`` unset) everything here does nothing, so nobody has to ask whether there is one.
"""

from __future__ import annotations

import errno
import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

_LOG = logging.getLogger("edged")
_STATUS_EVERY_S = 1.0
_EXTEND_EVERY_S = 10.0
_EXTEND_BY_S = 60.0
_PATIENCE_S = 0.5
"""How long a message that must arrive waits for room in the manager's queue."""
_LONGEST_STATUS = 400
_BUSY = (errno.EAGAIN, errno.ENOBUFS)


class Notifier:
    """Tells the service manager how the daemon is doing; for the supervisor's main thread.

    Args:
        address: of the manager's socket: a path, or a name in the abstract namespace behind ``@``; empty for none.
        watchdog_s: the manager ends the daemon when `alive` was not called for so long; None where it does not look.
        clock: seconds.

    Attributes:
        watchdog_s: as given; None without a manager.
    """

    def __init__(
        self, address: str = "", watchdog_s: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._address = b"\0" + os.fsencode(address[1:]) if address.startswith("@") else os.fsencode(address)
        self._socket: socket.socket | None = None
        if address:
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
        self.watchdog_s = watchdog_s if address else None
        self._clock = clock
        self._status = ""
        self._status_s = self._extended_s = float("-inf")
        self._stopping = False
        self._complained = False

    @classmethod
    def from_environment(cls, environ: MutableMapping[str, str]) -> Notifier:
        """What the environment asks for. Takes the variables out of it: they are not meant for children.

        Args:
            environ: usually ``os.environ``.
        """
        address = environ.pop("NOTIFY_SOCKET", "")
        interval, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        if address and address[0] not in "/@":
            _LOG.warning("NOTIFY_SOCKET is neither a path nor an abstract name: the service manager is told nothing")
            address = ""
        wanted = interval.isascii() and interval.isdecimal() and int(interval) > 0 and pid in ("", str(os.getpid()))
        return cls(address, int(interval) / 1e6 if wanted else None)

    def ready(self, status: str = "") -> None:
        """The start, or a reload, is complete."""
        self._send("READY=1", *self._said(status), must=True)

    def status(self, text: str) -> None:
        """Say in a line how things are; sent when it changed, and at most once a second."""
        now = self._clock()
        if text != self._status and now - self._status_s >= _STATUS_EVERY_S:
            self._send(*self._said(text))

    def reloading(self) -> None:
        """Settings are being read again; `ready` must follow, whatever comes of it."""
        # The time is what Type=notify-reload tells this reload from an earlier one by; other types do not mind it.
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", must=True)

    def stopping(self, status: str = "stopping") -> None:
        """The daemon is on its way out; said once."""
        if not self._stopping:
            self._stopping = True
            self._send("STOPPING=1", *self._said(status), must=True)

    def extend(self, status: str) -> None:
        """The start takes longer and is still under way; call as often as that is known for sure."""
        now = self._clock()
        if now - self._extended_s >= _EXTEND_EVERY_S:
            self._extended_s = now
            self._send(f"EXTEND_TIMEOUT_USEC={int(_EXTEND_BY_S * 1e6)}")
        self.status(status)

    def alive(self) -> bool:
        """Feed the watchdog; False when the manager's queue was full."""
        return self.watchdog_s is None or self._send("WATCHDOG=1")

    def close(self) -> None:
        """Release the socket; nothing is told from then on."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _said(self, text: str) -> list[str]:
        """The status line of a message, one line of bounded length, and when it was sent."""
        if not text:
            return []
        self._status, self._status_s = text, self._clock()
        return ["STATUS=" + " ".join(text.split())[:_LONGEST_STATUS]]

    def _send(self, *fields: str, must: bool = False) -> bool:
        if self._socket is None:
            return True
        self._socket.settimeout(_PATIENCE_S if must else 0.0)
        try:
            self._socket.sendto("\n".join(fields).encode(), self._address)
        except OSError as error:
            # A manager that is busy or being restarted is no reason to stop working; it is told again soon.
            if not self._complained and (must or error.errno not in _BUSY):
                self._complained = True
                _LOG.warning("the service manager cannot be told %s: %s", fields[0], error.strerror or error)
            return False
        self._complained = False
        return True
