# SPDX-License-Identifier: Apache-2.0
"""A small HTTP server in bounds: the standard library's, with limits on connections, on the size of a request, and on
the time that reading and writing one may take. It answers GET and HEAD, one request a connection.
"""

from __future__ import annotations

import contextlib
import errno
import io
import ipaddress
import logging
import selectors
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler
from types import MappingProxyType
from typing import Any

from edged.runtime.web_pages import Answer
from edged.shm.wake import Wake

_LOG = logging.getLogger("edged")
MOST_CONNECTIONS = 16
LONGEST_HEAD = 16384
"""Bytes of request line and headers."""
PATIENCE_S = 2.0
_PAUSE_S = 0.2
_TOO_LONG = b"HTTP/1.0 431 Request Header Fields Too Large\r\nConnection: close\r\n\r\n"
_END = b"\r\n\r\n"


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    server: Server
    error_content_type = "text/plain; charset=utf-8"
    error_message_format = "%(message)s\n"

    def setup(self) -> None:
        """Read the head in bounds; the standard library then reads it as if it came from the connection."""
        super().setup()
        self.rfile.close()
        self.rfile = io.BytesIO(_read_head(self.request, self.server.patience_s))
        self._answer = self.wfile = io.BytesIO()

    def finish(self) -> None:
        """Send the answer in one go: however it is taken, in sips or not at all, the whole has one deadline.

        Raises:
            OSError: it was not taken in time, or the client left.
        """
        # `sendall` counts on the monotonic clock, and does not begin anew with every bit that is taken.
        self.request.settimeout(self.server.patience_s)
        self.request.sendall(self._answer.getvalue())
        super().finish()

    def parse_request(self) -> bool:
        """Read the request; refuse at once what is neither GET nor HEAD."""
        if not super().parse_request():
            return False
        if self.command in ("GET", "HEAD"):
            return True
        self._send(Answer(405, self.error_content_type, b"only GET and HEAD\n"), {"Allow": "GET, HEAD"})
        return False

    def do_GET(self) -> None:
        """Answer with a page; to HEAD, with its headers."""
        self._send(self.server.pages(self.path, self.headers.get("Accept", "")))

    do_HEAD = do_GET  # noqa: N815

    def version_string(self) -> str:
        """Who answers; without versions, which are nobody's business."""
        return "edged"

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing: ten scrapes a second are no news."""

    def _send(self, answer: Answer, more: Mapping[str, str] = MappingProxyType({})) -> None:
        self.send_response(answer.status)
        headers = {
            "Content-Type": answer.content_type,
            "Content-Length": str(len(answer.body)),
            "Cache-Control": "no-store",
            "X-Content-Type-Options": "nosniff",
            "Connection": "close",
        }
        for name, value in {**headers, **more}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)


class Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """Listens at one address and answers from pages until it is told to stop.

    Args:
        host: address or name; ``*`` for every address.
        port: 0 for any that is free.
        pages: gives the answer to a path and an Accept header; called from several threads.
        patience_s: for a whole request to come, and for a whole answer to be taken, seconds.

    Raises:
        OSError: the address cannot be resolved or bound.
    """

    allow_reuse_address = True
    allow_reuse_port = False
    daemon_threads = True
    block_on_close = False
    request_queue_size = MOST_CONNECTIONS
    timeout = 0.0

    def __init__(
        self, host: str, port: int, pages: Callable[[str, str], Answer], *, patience_s: float = PATIENCE_S
    ) -> None:
        self.pages = pages
        self.patience_s = patience_s
        self._exhausted = False
        self._free = threading.BoundedSemaphore(MOST_CONNECTIONS)
        self._open: dict[socket.socket, None] = {}  # the oldest first
        self._open_lock = threading.Lock()
        found = socket.getaddrinfo("0.0.0.0" if host == "*" else host, port, type=socket.SOCK_STREAM)
        self.address_family, address = found[0][0], found[0][4]
        super().__init__(address, Handler)  # type: ignore[arg-type]
        self.socket.setblocking(False)

    @property
    def where(self) -> str:
        """The address as it was bound, ``address:port``."""
        host, port = self.socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    @property
    def only_here(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.socket.getsockname()[0].partition("%")[0]).is_loopback

    def serve_until(self, stop: Wake) -> None:
        """Answer requests until a stop is asked for."""
        with selectors.DefaultSelector() as selector:
            selector.register(stop, selectors.EVENT_READ)
            selector.register(self.socket, selectors.EVENT_READ)
            while not any(key.fileobj is stop for key, _ in selector.select()):
                self.handle_request()
                if self._exhausted:
                    # The connection still waits, and without a pause the loop would spin.
                    self._exhausted = False
                    if stop.wait(_PAUSE_S):
                        return

    def get_request(self) -> tuple[Any, Any]:
        """Take a connection; remember it if there is no descriptor or memory left for one."""
        try:
            return super().get_request()
        except OSError as error:
            self._exhausted = error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
            raise

    def process_request(self, request: Any, client_address: Any) -> None:
        """Serve a connection in a thread of its own. Where there are too many, the oldest has to go for it.

        Whoever asks properly has the answer in milliseconds: the oldest is the one that says or takes nothing.
        """
        if not self._free.acquire(blocking=False):
            self._end_oldest()
            if not self._free.acquire(timeout=_PAUSE_S):
                self.shutdown_request(request)
                return
        with self._open_lock:
            self._open[request] = None
        try:
            super().process_request(request, client_address)
        except RuntimeError:
            self._leave(request)
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """The thread of a connection."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._leave(request)

    def _leave(self, request: socket.socket) -> None:
        with self._open_lock:
            self._open.pop(request, None)
        self._free.release()

    def _end_oldest(self) -> None:
        """Have the thread of the oldest connection find it closed; its place is free a moment later."""
        with self._open_lock:
            oldest = next(iter(self._open), None)
            if oldest is not None:
                del self._open[oldest]
                # The peer, or its thread, may have ended it just now.
                with contextlib.suppress(OSError):
                    oldest.shutdown(socket.SHUT_RDWR)

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002
        """A client that left, or sent too much or too slowly, is no error of ours; all else is told."""
        if not isinstance(sys.exc_info()[1], OSError):
            _LOG.exception("a request over HTTP could not be answered")


def _read_head(request: socket.socket, patience_s: float) -> bytes:
    """Request line and headers, up to and with the empty line.

    Raises:
        OSError: they did not come in time, were too long, or the client left.
    """
    deadline = time.monotonic() + patience_s
    head = b""
    while _END not in head:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        request.settimeout(left_s)
        more = request.recv(LONGEST_HEAD + 1 - len(head))
        head += more
        if len(head) > LONGEST_HEAD:
            request.sendall(_TOO_LONG)
        if not more or len(head) > LONGEST_HEAD:
            raise ConnectionAbortedError
    return head[: head.index(_END) + len(_END)]
