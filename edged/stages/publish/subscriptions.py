# SPDX-License-Identifier: Apache-2.0
"""What subscribers send to the publishing socket: subscriptions, counted and held in bounds.

ZeroMQ takes every subscription of whoever was let in, and keeps it as long as the connection lasts. So edged keeps the
same book, by connection, and ends the connections of those that go too far; ZeroMQ forgets their topics with them.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Final

import zmq

from edged.messages import PREDICTIONS

MOST_OF_ONE: Final = 64 << 10
"""Bytes of topics of one connection: 700 of usual length."""
MOST_IN_ALL: Final = 2 << 20
_EACH: Final = 64  # of a topic, beside its length: what keeping it costs
_PREDICTIONS: Final = PREDICTIONS.encode()


@dataclass(slots=True)
class _Held:
    topics: set[bytes] = field(default_factory=set)
    nbytes: int = 0


class Subscriptions:
    """The topics of each connection. Pure logic, no sockets.

    Args:
        most_of_one: bytes of a connection's topics, each with 64 more than its length.
        most_in_all: of all connections together.

    Attributes:
        nbytes: of all together.
    """

    def __init__(self, most_of_one: int = MOST_OF_ONE, most_in_all: int = MOST_IN_ALL) -> None:
        self._most_of_one = most_of_one
        self._most_in_all = most_in_all
        self._held: dict[int, _Held] = {}
        self.nbytes = 0

    def __contains__(self, peer: int) -> bool:
        return peer in self._held

    def begin(self, peer: int) -> None:
        """There is a new connection."""
        self.forget(peer)
        self._held[peer] = _Held()

    def add(self, peer: int, topic: bytes) -> None:
        """A connection subscribes to a topic; again is the same as once, and what comes after its end is nothing."""
        held = self._held.get(peer)
        if held is not None and topic not in held.topics:
            held.topics.add(topic)
            self._weigh(held, len(topic) + _EACH)

    def remove(self, peer: int, topic: bytes) -> None:
        """A connection takes a subscription back."""
        held = self._held.get(peer)
        if held is not None and topic in held.topics:
            held.topics.remove(topic)
            self._weigh(held, -len(topic) - _EACH)

    def excessive(self, peer: int) -> int | None:
        """Whose connection has to end after this one subscribed; None where all is in bounds.

        Beyond the bound of all it is the one that holds the most, whoever came last.
        """
        held = self._held.get(peer)
        if held is not None and held.nbytes > self._most_of_one:
            return peer
        if self.nbytes > self._most_in_all:
            return max(self._held, key=lambda each: self._held[each].nbytes)
        return None

    def forget(self, peer: int) -> None:
        """A connection has ended, or is going to."""
        held = self._held.pop(peer, None)
        if held is not None:
            self.nbytes -= held.nbytes

    def keep(self, peers: Container[int]) -> None:
        """Forget all connections but these."""
        for peer in [each for each in self._held if each not in peers]:
            self.forget(peer)

    def _weigh(self, held: _Held, nbytes: int) -> None:
        held.nbytes += nbytes
        self.nbytes += nbytes


class Inbound:
    """Reads what subscribers send.

    Args:
        publishing: the XPUB socket; it has to tell of every subscription and of its end (``XPUB_VERBOSER``).
        follow: has `subscriptions` begin and forget connections, up to now.

    Attributes:
        subscriptions: what is subscribed to now.
        predictions: how many subscriptions that include predictions of some source have come so far.
        odd: messages that are no subscriptions.
        overreached: connections ended for more topics than a client may subscribe to.
    """

    def __init__(self, publishing: zmq.Socket[bytes], follow: Callable[[], None]) -> None:
        self.subscriptions = Subscriptions()
        self.predictions = 0
        self.odd = 0
        self.overreached = 0
        self._socket = publishing
        self._follow = follow

    def take(self, limit: int) -> None:
        """Take at most so many messages; never waits."""
        for _ in range(limit):
            try:
                frames = self._socket.recv_multipart(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            self._note(frames)

    def _note(self, frames: list[zmq.Frame]) -> None:
        """Count a subscription; whatever else a peer sends is counted and ignored."""
        head = frames[0].bytes
        if len(frames) > 1 or head[:1] not in (b"\x00", b"\x01"):
            self.odd += 1
            return
        topic, peer = head[1:], _descriptor(frames[0])
        if head[:1] == b"\x00":
            self.subscriptions.remove(peer, topic)
            return
        if topic.startswith(_PREDICTIONS) or _PREDICTIONS.startswith(topic):
            self.predictions += 1
        if peer not in self.subscriptions:
            # It came just now, or has gone already.
            self._follow()
        self.subscriptions.add(peer, topic)
        if self.subscriptions.excessive(peer) is not None:
            # Unless they were the topics of one that has gone, whose descriptor is another's by now.
            self._follow()
            excessive = self.subscriptions.excessive(peer)
            if excessive is not None:
                self._end(excessive)

    def _end(self, descriptor: int) -> None:
        """End one connection. ZeroMQ cannot; the kernel can, and ZeroMQ then finds it closed by the other side."""
        self.subscriptions.forget(descriptor)
        self.overreached += 1
        try:
            connection = socket.socket(fileno=descriptor)
        except (OSError, ValueError):
            return
        try:
            connection.getpeername()  # else it ended just now, and the descriptor may be anything
            connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            return
        finally:
            connection.detach()


def _descriptor(frame: zmq.Frame) -> int:
    """Of the connection that a message came by; −1 where ZeroMQ made it up, as at a connection's end."""
    try:
        return int(frame.get("__fd"))
    except (zmq.ZMQError, ValueError):
        return -1
