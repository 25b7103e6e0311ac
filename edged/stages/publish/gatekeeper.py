# SPDX-License-Identifier: Apache-2.0
"""The question whether a client key may connect (ZeroMQ's authentication protocol, RFC 27), and its answer."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq
from zmq.utils import z85

from edged.stages.publish.authorized import AuthorizedKeys
from edged.stages.publish.peers import Summed

_ENDPOINT = "inproc://zeromq.zap.01"
_VERSION = b"1.0"


class Gatekeeper:
    """Answers ZeroMQ's question whether a client key may connect; polled from the publisher's own loop.

    Args:
        context: of the socket to protect.
        authorized: public keys that may connect, Z85; a set that never changes, or a folder that is followed.
        clock: seconds.

    Attributes:
        denied: connections refused so far.
    """

    def __init__(
        self,
        context: zmq.Context[zmq.Socket[bytes]],
        authorized: frozenset[bytes] | AuthorizedKeys,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fixed = frozenset() if isinstance(authorized, AuthorizedKeys) else authorized
        self._followed = authorized if isinstance(authorized, AuthorizedKeys) else None
        self._admitted: set[bytes] = set()
        self._unwelcome: set[bytes] = set()
        self.denied = 0
        self._told = Summed(clock)
        self.socket = context.socket(zmq.REP)
        self.socket.linger = 0
        self.socket.bind(_ENDPOINT)

    def refresh(self) -> bool:
        """Follow the folder of keys; cheap enough to be called all the time.

        Returns:
            Whether somebody who was let in before is not welcome any more.
        """
        if self._followed is None:
            return False
        self._unwelcome |= self._followed.refresh()
        unwelcome = self._unwelcome & self._admitted
        self._admitted -= unwelcome
        self._unwelcome.clear()
        return bool(unwelcome)

    def answer(self, limit: int) -> None:
        """Answer what was asked, at most ``limit`` questions; never waits."""
        for _ in range(limit):
            try:
                question = self.socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self.socket.send_multipart(self._reply(question), zmq.DONTWAIT)

    def remarks(self) -> list[str]:
        """What the log should say, since the last call: refusals (summed up over ten seconds) and bad files."""
        said = []
        if self._followed is not None:
            said, self._followed.remarks = self._followed.remarks, []
        if new := self._told.new(self.denied):
            said.append(f"{new} connection(s) refused: their key is not among the authorised ones")
        return said

    def _reply(self, question: list[bytes]) -> list[bytes]:
        request = question[1] if len(question) > 1 else b""
        # version, request id, domain, address, identity, mechanism, then the client's key: 32 bytes
        asked = len(question) == 7 and question[0] == _VERSION and question[5] == b"CURVE" and len(question[6]) == 32
        key = z85.encode(question[6]) if asked else b""
        if self._knows(key):
            self._admitted.add(key)
            return [_VERSION, request, b"200", b"OK", b"subscriber", b""]
        self.denied += 1
        return [_VERSION, request, b"400", b"unknown key", b"", b""]

    def _knows(self, key: bytes) -> bool:
        if self._followed is None:
            return key in self._fixed
        if key and key not in self._followed.keys:
            # It may have come this moment, and ZeroMQ's clients do not try again by themselves once they are refused.
            self._unwelcome |= self._followed.refresh(soon=True)
        return key in self._followed.keys

    def close(self) -> None:
        """Close the socket; from then on nobody new is let in."""
        self.socket.close(linger=0)
