# SPDX-License-Identifier: Apache-2.0
"""How many subscribers are connected, from what the socket monitor reports. Pure logic, no sockets."""

from __future__ import annotations

from typing import Literal

PeerEvent = Literal["accepted", "succeeded", "failed", "disconnected"]


class PeerCounter:
    """Follows connections from acceptance to their end.

    The monitor names the descriptor when a connection is accepted and when it ends, but not when its handshake
    succeeds or fails. Handshakes take well under a millisecond, so a success belongs to the newest connection still
    waiting for one; a failure right before an end belongs to that end, which sets a wrong guess right. The count may be
    off by one while a silent connection waits for its handshake to time out, and is exact again afterwards.

    Attributes:
        handshake_failures: connections that ended without a handshake: port scanners, wrong keys, wrong socket types.
    """

    def __init__(self) -> None:
        self.handshake_failures = 0
        self._waiting: dict[int, None] = {}
        self._connected: set[int] = set()
        self._failed_before = False

    @property
    def connected(self) -> int:
        """Peers that completed their handshake and are still there."""
        return len(self._connected)

    def note(self, event: PeerEvent, descriptor: int) -> None:
        """Take note of one monitor event.

        Args:
            event: what happened.
            descriptor: of the connection, for ``accepted`` and ``disconnected``.
        """
        if event == "accepted":
            self._connected.discard(descriptor)
            self._waiting.pop(descriptor, None)
            self._waiting[descriptor] = None
        elif event == "succeeded":
            if self._waiting:
                self._connected.add(self._waiting.popitem()[0])
        elif event == "disconnected":
            self._end(descriptor)
        self._failed_before = event == "failed"

    def _end(self, descriptor: int) -> None:
        if descriptor in self._waiting:
            del self._waiting[descriptor]
            self.handshake_failures += 1
            return
        self._connected.discard(descriptor)
        if self._failed_before:
            self.handshake_failures += 1
            if self._waiting:
                self._connected.add(self._waiting.popitem()[0])
