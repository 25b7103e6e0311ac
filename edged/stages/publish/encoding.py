# SPDX-License-Identifier: Apache-2.0
"""From a message to the bytes that go on the wire."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypedDict

import msgspec

from edged.messages import Message
from edged.stages.publish.sequences import Sequences


class EnvelopeFields(TypedDict):
    """The part that every message shares, ready for ``Health(**fields, …)``; see `edged.messages.Envelope`."""

    device: str
    boot: str
    seq: int
    at: float


class Envelopes:
    """Fills in what every message of this daemon carries.

    Args:
        device: ``daemon.name``.
        boot: UUID of this start of the daemon.
        sequences: gives out the sequence numbers.
        clock: Unix time in seconds.
    """

    def __init__(self, *, device: str, boot: str, sequences: Sequences, clock: Callable[[], float] = time.time) -> None:
        self._device = device
        self._boot = boot
        self._sequences = sequences
        self._clock = clock

    def fill(self, topic: str) -> EnvelopeFields:
        """Envelope of the next message of a topic.

        It uses up a sequence number: the message must be sent, or subscribers count it as lost.
        """
        return {
            "device": self._device,
            "boot": self._boot,
            "seq": self._sequences.next(topic),
            "at": self._clock(),
        }


class MessageEncoder:
    """Turns messages into JSON. Keep one: it is made to be used again and again, from one thread.

    Numbers must be Python's own (not numpy scalars) and finite: JSON has no NaN.
    """

    def __init__(self) -> None:
        self._encoder = msgspec.json.Encoder()

    def encode(self, message: Message) -> bytes:
        """UTF-8 JSON of a message, without blanks; fields that are `msgspec.UNSET` are left out.

        Raises:
            TypeError: a field holds something JSON cannot express, for example a numpy scalar.
        """
        return self._encoder.encode(message)
