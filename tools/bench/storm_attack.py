# SPDX-License-Identifier: Apache-2.0
"""Clients that are not welcome, in a process of their own: ``python -m tools.bench.storm_attack ENDPOINT SERVER_KEY``.

Reads commands from standard input and answers each with one line of JSON: ``for SECONDS RATE`` comes with so many
connections a second, of every kind in turn; ``at-once COUNT`` with all of them together, and holds them for a while.
Each connection stays for some time and is then closed; what it was sent meanwhile is looked at.
"""

from __future__ import annotations

import itertools
import json
import random
import socket
import sys
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import zmq

_STAY_S = 1.0
_HOLD_S = 6.0
_MOST_OPEN = 150
_GREETING: Final = b"\xff" + bytes(8) + b"\x7f\x03\x01CURVE" + bytes(15) + b"\0" + bytes(31)
"""What a ZeroMQ client says first (ZMTP 3.1): signature, version, mechanism, role."""
_TELLING: Final = (b"v1/", b"edged.", b"schema")
"""What stands in every message."""


class Unwelcome(Protocol):
    """One connection."""

    def look(self) -> int:
        """How many messages it was sent so far, or pieces of them."""
        ...

    def close(self) -> None:
        """Go away."""
        ...


class Raw:
    """A connection that says some bytes, and listens."""

    def __init__(self, address: tuple[str, int], words: bytes) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(2.0)
        self._heard = b""
        try:
            self._socket.connect(address)
            self._socket.sendall(words)
        except OSError:
            pass  # turned away at once: as good an answer as any
        self._socket.setblocking(False)

    def look(self) -> int:
        """Pieces of messages among what was said to it."""
        try:
            while heard := self._socket.recv(65536):
                self._heard += heard
        except OSError:
            pass
        return sum(self._heard.count(text) for text in _TELLING) + (len(self._heard) > 4096)

    def close(self) -> None:
        """Go away."""
        self._socket.close()


class Client:
    """A ZeroMQ subscriber to everything."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str, server: bytes | None) -> None:
        self._socket = context.socket(zmq.SUB)
        self._socket.linger = 0
        self._socket.subscribe("")
        if server is not None:
            self._socket.curve_serverkey = server
            self._socket.curve_publickey, self._socket.curve_secretkey = zmq.curve_keypair()
        self._socket.connect(endpoint)
        self._count = 0

    def look(self) -> int:
        """Messages that it was sent."""
        try:
            while True:
                self._socket.recv_multipart(zmq.DONTWAIT)
                self._count += 1
        except zmq.Again:
            return self._count

    def close(self) -> None:
        """Go away."""
        self._socket.close()


class Crowd:
    """Makes unwelcome connections.

    Args:
        endpoint: of the publisher, ``tcp://address:port``.
        server: its public key, Z85.
    """

    def __init__(self, endpoint: str, server: bytes) -> None:
        host, _, port = endpoint.removeprefix("tcp://").rpartition(":")
        address = (host, int(port))
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        rng = random.Random(1)
        other = zmq.curve_keypair()[0]
        kinds: tuple[tuple[str, Callable[[], Unwelcome]], ...] = (
            ("key not authorised", lambda: Client(self._context, endpoint, server)),
            ("wrong server key", lambda: Client(self._context, endpoint, other)),
            ("no key", lambda: Client(self._context, endpoint, None)),
            ("nothing said", lambda: Raw(address, b"")),
            ("half a greeting", lambda: Raw(address, _GREETING[: rng.randrange(1, 64)])),
            ("greeting, then nothing", lambda: Raw(address, _GREETING)),
            ("random bytes", lambda: Raw(address, rng.randbytes(rng.randrange(1, 5000)))),
            ("greeting, then random bytes", lambda: Raw(address, _GREETING + rng.randbytes(500))),
            ("HTTP", lambda: Raw(address, b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")),
        )
        self._kinds = itertools.cycle(kinds)
        self._open: deque[tuple[float, Unwelcome]] = deque()
        self.made = 0
        self.delivered = 0

    def come(self) -> None:
        """One more."""
        _, make = next(self._kinds)
        self._open.append((time.monotonic(), make()))
        self.made += 1

    def leave(self, before_s: float, most: int = _MOST_OPEN) -> None:
        """Close those that came before a time, and the oldest beyond a number."""
        while self._open and (self._open[0][0] < before_s or len(self._open) > most):
            _, one = self._open.popleft()
            self.delivered += one.look()
            one.close()

    def storm(self, seconds: float, rate_hz: float) -> None:
        """So many a second, each for a second."""
        begin = time.monotonic()
        for number in range(int(seconds * rate_hz)):
            time.sleep(max(0.0, begin + number / rate_hz - time.monotonic()))
            self.come()
            self.leave(time.monotonic() - _STAY_S)

    def at_once(self, count: int) -> None:
        """So many together, for longer than a handshake may take."""
        for _ in range(count):
            self.come()
        time.sleep(_HOLD_S)
        self.leave(float("inf"))

    def close(self) -> None:
        """Send everybody away."""
        self.leave(float("inf"))
        self._context.term()


def main() -> int:
    """Obey until standard input ends."""
    crowd = Crowd(sys.argv[1], sys.argv[2].encode())
    for line in sys.stdin:
        word, *numbers = line.split()
        if word == "for":
            crowd.storm(float(numbers[0]), float(numbers[1]))
        else:
            crowd.at_once(int(numbers[0]))
        crowd.leave(float("inf"))
        print(json.dumps({"made": crowd.made, "delivered": crowd.delivered}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
