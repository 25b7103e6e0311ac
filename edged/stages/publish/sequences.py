# SPDX-License-Identifier: Apache-2.0
"""Sequence numbers: given out by the sender, and read by a subscriber to learn what it lost. Pure logic, no sockets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

_MAX_TOPICS = 4096
_MAX_DEVICES = 256


class Sequences(Protocol):
    """Where a publisher takes its sequence numbers from."""

    def next(self, topic: str) -> int:
        """The next number of a topic: 1 first, then +1 each."""
        ...

    def last(self) -> dict[str, int]:
        """The number given out last, by topic."""
        ...


class LocalSequences:
    """Sequence numbers in the memory of this process: they begin anew when it is replaced."""

    def __init__(self) -> None:
        self._last: dict[str, int] = {}

    def next(self, topic: str) -> int:
        """The next number of a topic: 1 first, then +1 each."""
        number = self._last.get(topic, 0) + 1
        self._last[topic] = number
        return number

    def last(self) -> dict[str, int]:
        """The number given out last, by topic."""
        return dict(self._last)


class GapTracker:
    """Counts what a subscriber missed, from the sequence numbers it sees.

    Topics are told apart by device too, so that one subscriber may listen to several daemons. What was sent before a
    topic was first seen is not a loss, and neither is what a restart of the daemon (a new boot id) left out. Memory is
    bounded whatever arrives: beyond 256 devices or 4096 topics the ones known longest are forgotten.

    Attributes:
        lost: messages missed so far, by topic, over all devices.
        restarts: how often a known device came back with a new boot id.
    """

    def __init__(self) -> None:
        self.lost: dict[str, int] = {}
        self.restarts = 0
        self._boots: dict[str, str] = {}
        self._last: dict[tuple[str, str], int] = {}

    def observe(self, device: str, boot: str, topic: str, seq: int) -> int:
        """Take note of a message.

        Returns:
            How many messages of this topic were lost right before it; 0 for a repeated or late one.
        """
        self._note_boot(device, boot)
        return self._advance(device, topic, seq, 1)

    def observe_last(self, device: str, last_seq: Mapping[str, int]) -> dict[str, int]:
        """Compare with the last number of every topic, as a health message of the same boot reports them.

        Returns:
            How many messages at the tail of each topic are missing; only topics that lost some.
        """
        missing = {}
        for topic, seq in last_seq.items():
            if (device, topic) in self._last:
                lost = self._advance(device, topic, seq, 0)
                if lost:
                    missing[topic] = lost
        return missing

    def _note_boot(self, device: str, boot: str) -> None:
        known = self._boots.get(device)
        if known == boot:
            return
        if known is not None:
            self.restarts += 1
            self._forget(device)
        elif len(self._boots) >= _MAX_DEVICES:
            self._forget(next(iter(self._boots)))
        self._boots[device] = boot

    def _forget(self, device: str) -> None:
        del self._boots[device]
        for key in [key for key in self._last if key[0] == device]:
            del self._last[key]

    def _advance(self, device: str, topic: str, seq: int, own: int) -> int:
        """Move on to ``seq``; ``own`` is 1 when the message with that number itself was received."""
        key = (device, topic)
        last = self._last.get(key)
        if last is None:
            if len(self._last) >= _MAX_TOPICS:
                del self._last[next(iter(self._last))]
            self._last[key] = seq
            return 0
        if seq <= last:
            return 0
        self._last[key] = seq
        lost = seq - last - own
        if lost:
            self._count(topic, lost)
        return lost

    def _count(self, topic: str, lost: int) -> None:
        if topic not in self.lost and len(self.lost) >= _MAX_TOPICS:
            del self.lost[next(iter(self.lost))]
        self.lost[topic] = self.lost.get(topic, 0) + lost
