# SPDX-License-Identifier: Apache-2.0
"""The supervisor's HTTP endpoint: metrics and health for whoever asks, from a thread of its own.

Nothing that happens here reaches the supervisor's loop: names are resolved, addresses bound and pages made in that
thread and in those of its connections. A port that is taken is no reason not to infer: the daemon warns, goes on
without HTTP and tries again.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from typing import TYPE_CHECKING, NamedTuple

from edged.runtime.web_pages import Pages, Shown
from edged.shm.wake import Wake

if TYPE_CHECKING:
    from edged.runtime.web_server import Server

_LOG = logging.getLogger("edged")
RETRY_S = 10.0
_STOP_S = 0.5


class Notice(NamedTuple):
    """Something to tell once, as an event."""

    kind: str
    severity: str
    text: str


class Web:
    """Answers HTTP while it is started. For the supervisor's thread.

    Args:
        bind: ``http.bind``: address and port; empty for none.
        device: ``daemon.name``.
        boot: of this start of the daemon.
        retry_s: after how long to try again where the address could not be bound, seconds.

    Attributes:
        pages: what is answered.
    """

    def __init__(self, bind: str, device: str, boot: str, *, retry_s: float = RETRY_S) -> None:
        self.pages = Pages(device, boot)
        self._bind = bind
        self._retry_s = retry_s
        self._where = ""
        self._notices: deque[Notice] = deque(maxlen=16)
        self._stop: Wake | None = None
        self._thread: threading.Thread | None = None

    @property
    def where(self) -> str:
        """``address:port`` where it answers; empty while it does not."""
        return self._where

    def start(self) -> None:
        """Begin to answer. Never waits and never fails: see `take_notices`."""
        if self._bind and self._thread is None:
            self._stop = Wake()
            self._thread = threading.Thread(target=self._run, args=(self._bind, self._stop), name="http", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Answer no more; the address is free afterwards. Harmless twice."""
        if self._thread is None or self._stop is None:
            return
        self._stop.set()
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            # It resolves a name, which nothing can interrupt; it ends by itself, or with the process.
            _LOG.warning("http.bind: %s is still being resolved", self._bind)
        else:
            self._stop.close()
        self._thread = self._stop = None

    def rebind(self, bind: str) -> None:
        """Answer somewhere else from now on; empty for nowhere. The same address changes nothing."""
        if bind != self._bind:
            self.stop()
            self._bind = bind
            self.start()

    def beat(self) -> None:
        """The supervisor turns: call it once a turn."""
        self.pages.beat()

    def show(self, shown: Shown) -> None:
        """Answer from this on: call it once a second."""
        self.pages.show(shown)

    def stopping(self) -> None:
        """The daemon is on its way out; what it shows stays until it has ended."""
        self.pages.stopping()

    def take_notices(self) -> list[Notice]:
        """What is to be told since the last call."""
        taken = []
        while self._notices:
            taken.append(self._notices.popleft())
        return taken

    def _run(self, bind: str, stop: Wake) -> None:
        told = ""
        while True:
            try:
                server = _bound(bind, self.pages)
            except OSError as error:
                reason = error.strerror or str(error)
                if reason != told:
                    self._notices.append(Notice("http-unavailable", "warning", _refusal(bind, reason)))
                    told = reason
                if stop.wait(self._retry_s):
                    return
                continue
            with server:
                self._begin(server, again=bool(told))
                server.serve_until(stop)
                self._where = ""
            return

    def _begin(self, server: Server, *, again: bool) -> None:
        self._where = server.where
        if not server.only_here:
            _LOG.warning("http.bind: everybody who reaches %s can read metrics and health", server.where)
        if again:
            self._notices.append(Notice("http-available", "info", f"HTTP is answered at {server.where} now"))
        else:
            _LOG.info("http://%s answers /metrics, /livez, /readyz and /healthz", server.where)


def _bound(bind: str, pages: Pages) -> Server:
    """A server at an address.

    Raises:
        OSError: the address cannot be resolved or bound.
    """
    from edged.runtime.web_server import Server

    host, _, port = bind.rpartition(":")
    try:
        return Server(host.strip("[]"), int(port), pages.answer)
    except UnicodeError as error:
        raise OSError("that is no host name") from error


def _refusal(bind: str, reason: str) -> str:
    return (
        f"http.bind: {bind} cannot be bound: {reason}; the daemon goes on without HTTP and tries again; "
        'give it another http.bind, or "" for none'
    )
