# SPDX-License-Identifier: Apache-2.0
"""The publish process's one loop over everything it listens to: results, subscribers, the supervisor."""

from __future__ import annotations

import time
from collections.abc import Callable

import zmq

from edged.shm.wake import Wake
from edged.stages.publish.loop import PublishLoop
from edged.stages.publish.publisher import Publisher

_NOTE_EVERY_S = 1.0
_LONGEST_WAIT_MS = 500
_BATCHES_PER_TURN = 16
_MOST_TOLD = 10_000
"""Subscriptions that anybody waits for at the most; later ones are no news, however many somebody sends."""


class PublishService:
    """Runs the publish loop and keeps the socket served.

    Args:
        publisher: the socket.
        loop: empties the output ring.
        wake: set by infer when results are ready.
        control: descriptor of the control channel.
        should_stop: whether to stop; takes in what came over the control channel.
        on_subscriptions: told how many subscriptions to predictions have come so far, whenever that changed; up to
            10,000.
    """

    def __init__(
        self,
        publisher: Publisher,
        loop: PublishLoop,
        *,
        wake: Wake,
        control: int,
        should_stop: Callable[[], bool],
        on_subscriptions: Callable[[int], None],
    ) -> None:
        self._publisher = publisher
        self._loop = loop
        self._wake = wake
        self._should_stop = should_stop
        self._on_subscriptions = on_subscriptions
        self._subscriptions = 0
        self._inbound = set(publisher.poller_sockets)
        self._poller = zmq.Poller()
        self._poller.register(wake.fileno(), zmq.POLLIN)
        self._poller.register(control, zmq.POLLIN)
        for socket in publisher.poller_sockets:
            self._poller.register(socket, zmq.POLLIN)

    def run(self) -> None:
        """Serve until told to stop; what is ready then is still published."""
        next_note = time.monotonic()
        busy = False
        while not self._should_stop():
            ready = self._poller.poll(0 if busy else _LONGEST_WAIT_MS)
            if any(source in self._inbound for source, _ in ready):
                self._serve_subscribers()
            busy = self._publish_some()
            now = time.monotonic()
            if now >= next_note:
                next_note = now + _NOTE_EVERY_S
                self._loop.note_rates()
                # Also with nothing inbound: a client's key may have been revoked meanwhile.
                self._serve_subscribers()
        while self._publish_some():
            pass

    def _serve_subscribers(self) -> None:
        count = min(self._publisher.poll_subscriptions(), _MOST_TOLD)
        if count != self._subscriptions:
            self._subscriptions = count
            self._on_subscriptions(count)

    def _publish_some(self) -> bool:
        """Publish a bounded number of batches; True when there may be more."""
        self._wake.clear()
        return all(self._loop.publish_next() for _ in range(_BATCHES_PER_TURN))
