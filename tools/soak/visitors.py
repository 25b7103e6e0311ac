# SPDX-License-Identifier: Apache-2.0
"""Subscribers that come and go, in a thread of their own."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from edged.stages.publish.client import Subscriber

_TOPICS = ((), ("v1/health/",), ("v1/predictions/",), ("v1/predictions/north/", "v1/event/"))
_LONGEST_STAY_S = 3.0


class Visitors:
    """Connects again and again: some read, some only stay, none stays long. Use it as a context.

    Args:
        endpoint: of the daemon.
        seed: of when they come and what they want.

    Attributes:
        visits: so far.
        silent: visits that stayed long enough for a health message, wanted everything, and heard nothing.
    """

    def __init__(self, endpoint: str, seed: int = 0) -> None:
        self.visits = 0
        self.silent = 0
        self._endpoint = endpoint
        self._random = random.Random(seed)
        self._over = threading.Event()
        self._door = threading.Lock()
        self._thread = threading.Thread(target=self._come_and_go, name="visitors", daemon=True)

    def __enter__(self) -> Visitors:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join(2 * _LONGEST_STAY_S)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody visits inside this context; waits until the last one has gone."""
        with self._door:
            yield

    def _come_and_go(self) -> None:
        while not self._over.is_set():
            with self._door:
                self._visit()
            self._over.wait(self._random.uniform(0.1, 1.0))

    def _visit(self) -> None:
        topics = self._random.choice(_TOPICS)
        stay_s = self._random.uniform(0.0, _LONGEST_STAY_S)
        reads = self._random.random() < 0.7
        with Subscriber(self._endpoint, topics or ("",)) as subscriber:
            heard = self._read(subscriber, stay_s) if reads else self._over.wait(stay_s)
        self.visits += 1
        if reads and not topics and stay_s > 2.0 and not heard and not self._over.is_set():
            self.silent += 1

    def _read(self, subscriber: Subscriber, stay_s: float) -> bool:
        heard = False
        end = time.monotonic() + stay_s
        while (left := end - time.monotonic()) > 0 and not self._over.is_set():
            heard = subscriber.receive(min(left, 0.5)) is not None or heard
        return heard
