# SPDX-License-Identifier: Apache-2.0
"""How many subscribers are connected, from what the socket monitor reports. Pure logic, no sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Literal

_SAY_EVERY_S: Final = 10.0

PeerEvent = Literal["accepted", "succeeded", "failed", "disconnected", "closed"]


class Summed:
    """A count that the log mentions now and then.

    Args:
        clock: seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._said = 0
        self._say_s = float("-inf")

    def new(self, total: int) -> int:
        """How many more there are than when this last told of some; 0 again for ten seconds then."""
        now = self._clock()
        if total <= self._said or now < self._say_s:
            return 0
        new, self._said, self._say_s = total - self._said, total, now + _SAY_EVERY_S
        return new


class PeerCounter:
    """Follows connections from acceptance to their end.

    The monitor names the descriptor when a connection is accepted and when it ends, but not when its handshake
    succeeds or fails. Handshakes take well under a millisecond, so a success belongs to the newest connection still
    waiting for one; a failure belongs to the next end, which sets a wrong guess right. The count may be off by one
    while a silent connection waits for its handshake to time out, and is exact again afterwards.

    Attributes:
        handshake_failures: connections that ended without a handshake: port scanners, wrong keys, wrong socket types.
    """

    def __init__(self) -> None:
        self.handshake_failures = 0
        self._waiting: dict[int, str] = {}
        self._connected: dict[int, str] = {}
        self._failures = 0  # whose connection has not ended yet

    @property
    def connected(self) -> int:
        """Peers that completed their handshake and are still there."""
        return len(self._connected)

    @property
    def descriptors(self) -> frozenset[int]:
        """Of all connections that are there, with a handshake or before it."""
        return frozenset((*self._waiting, *self._connected))

    def note(self, event: PeerEvent, descriptor: int, endpoint: str = "") -> None:
        """Take note of one monitor event.

        Args:
            event: what happened.
            descriptor: of the connection, for ``accepted`` and ``disconnected``.
            endpoint: that it came in by, for ``accepted`` and ``closed``. An endpoint that is closed takes its
                connections along, without a word about them.
        """
        if event == "accepted":
            self._connected.pop(descriptor, None)
            self._waiting.pop(descriptor, None)
            self._waiting[descriptor] = endpoint
        elif event == "succeeded":
            self._succeed()
        elif event == "closed":
            self._waiting = {each: at for each, at in self._waiting.items() if at != endpoint}
            self._connected = {each: at for each, at in self._connected.items() if at != endpoint}
        elif event == "failed":
            self._failures += 1
        elif event == "disconnected":
            self._end(descriptor)

    def _succeed(self) -> None:
        if self._waiting:
            newest, endpoint = self._waiting.popitem()
            self._connected[newest] = endpoint

    def _end(self, descriptor: int) -> None:
        failed = self._failures > 0
        if failed:
            self._failures -= 1
        if descriptor in self._waiting:
            del self._waiting[descriptor]
            self.handshake_failures += 1
        else:
            self._connected.pop(descriptor, None)
            if failed:
                self.handshake_failures += 1
                self._succeed()
        if not self._waiting:
            self._failures = 0  # there is nobody left whose it could be
