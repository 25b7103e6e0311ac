# SPDX-License-Identifier: Apache-2.0
"""Connecting again where ZeroMQ gives up.

A connection that breaks is ZeroMQ's to mend. But one that ends for what was said on it, because a key was refused, a
message was too long or something else than ZeroMQ answered, is ended for good, without a word: the subscriber would
wait for ever, also after the key was authorised or the daemon came back. The socket's monitor tells the two apart:
after the first, "connect retried" follows at once.
"""

from __future__ import annotations

import errno
import struct
import time
import uuid
from collections.abc import Callable
from typing import Final

import zmq

_GONE: Final = zmq.EVENT_DISCONNECTED
_RETRIED: Final = zmq.EVENT_CONNECT_RETRIED
_DONE: Final = zmq.EVENT_HANDSHAKE_SUCCEEDED
_HWM: Final = 10_000  # ZeroMQ's I/O thread waits when it is full
_SURE_S: Final = 1.0
_LONGEST_S: Final = 30.0
_LOOK_EVERY_S: Final = 0.5

Socket = zmq.Socket[bytes]


class Reconnector:
    """Looks after the connections of one socket, from that socket's thread.

    Args:
        context: of the socket.
        socket: that connects.
        clock: seconds.

    Attributes:
        given_up: how often ZeroMQ gave a connection up that was then made again.
    """

    def __init__(
        self, context: zmq.Context[Socket], socket: Socket, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.given_up = 0
        self._socket = socket
        self._clock = clock
        self._endpoints: list[str] = []
        self._look_s = float("-inf")
        self._gone: dict[str, float] = {}
        self._in_a_row: dict[str, int] = {}
        address = f"inproc://connections-{uuid.uuid4()}"
        socket.monitor(address, _GONE | _RETRIED | _DONE)
        self._monitor: Socket = context.socket(zmq.PAIR)
        self._monitor.linger = 0
        self._monitor.rcvhwm = _HWM
        self._monitor.connect(address)

    def connect(self, endpoint: str) -> None:
        """Connect for the first time.

        Raises:
            zmq.ZMQError: it is no endpoint.
        """
        self._socket.connect(endpoint)
        self._endpoints.append(endpoint)

    def tend(self) -> None:
        """Make connections again that were given up, a second later and then less and less often.

        Never waits, and looks twice a second at most: call it all the time.
        """
        now = self._clock()
        if now < self._look_s:
            return
        self._look_s = now + _LOOK_EVERY_S
        self._drain()
        for address, since in list(self._gone.items()):
            tried = self._in_a_row.get(address, 0)
            if now - since < min(_SURE_S * 2 ** min(tried, 10), _LONGEST_S):
                continue
            del self._gone[address]
            self._in_a_row[address] = tried + 1
            self.given_up += 1
            for endpoint in self._meant(address):
                self._again(endpoint)

    def close(self) -> None:
        """Stop looking; before the socket is closed."""
        # Empty first: ZeroMQ's I/O thread would otherwise wait for somebody to read it.
        self._drain()
        self._socket.monitor(None, 0)
        self._monitor.close(linger=0)

    def _drain(self) -> None:
        for _ in range(_HWM):
            try:
                head, address, *_rest = self._monitor.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._note(struct.unpack("=Hi", head)[0], address.decode(errors="replace"))

    def _note(self, event: int, address: str) -> None:
        if event == _GONE:
            self._gone[address] = self._clock()
        else:
            self._gone.pop(address, None)
            if event == _DONE:
                self._in_a_row.pop(address, None)

    def _meant(self, address: str) -> list[str]:
        """The endpoints behind an address: events name the one that a host's name was resolved to."""
        same = [endpoint for endpoint in self._endpoints if endpoint == address]
        return same or [endpoint for endpoint in self._endpoints if not endpoint.startswith("ipc://")]

    def _again(self, endpoint: str) -> None:
        try:
            self._socket.disconnect(endpoint)
        except zmq.ZMQError as error:
            if error.errno != errno.ENOENT:
                raise
        self._socket.ipv6 = "[" in endpoint
        self._socket.connect(endpoint)
