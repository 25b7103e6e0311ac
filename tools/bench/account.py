# SPDX-License-Identifier: Apache-2.0
"""Conservation seen from outside: what a subscriber counts against what the daemon says, over a whole run.

A subscriber that does not get to run for long may miss messages, for publishing never waits for anybody. Sequence
numbers tell how many; they are counted and shown, and must make up the difference exactly.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from collections.abc import Iterable, Mapping

from edged.messages import Health, Message, Prediction, predictions_topic
from tools.bench.harness import Daemon, Subscriber

_GOOD_BYE_S = 20.0
_PATIENT = 100_000


def subscriber_of(daemon: Daemon) -> Subscriber:
    """A subscriber to everything that loses nothing, however long the benchmark does not get to run."""
    return Subscriber(daemon.endpoint, ("",), hwm=_PATIENT)


class Account:
    """Counts predictions by source from the first on; with ``publish.wait_for_subscribers`` none was before it.

    Attributes:
        wrong: what did not add up, in words; empty if all is well.
        counted: predictions by source.
        missed: predictions by source that did not arrive here.
        health: the newest health message.
    """

    def __init__(self) -> None:
        self.wrong: list[str] = []
        self.counted: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()
        self._frames: dict[str, int] = {}
        self.health: Health | None = None

    def take(self, messages: Iterable[Message]) -> None:
        """Count some messages, in the order in which they came."""
        for message in messages:
            if isinstance(message, Prediction):
                self._count(message)
            elif isinstance(message, Health):
                self.health = message
                self._check(message)

    def close(self, daemon: Daemon, subscriber: Subscriber) -> list[Message]:
        """Stop the daemon, count what still comes, and compare; returns what still came."""
        daemon.process.send_signal(signal.SIGTERM)
        messages: list[Message] = []
        end = time.monotonic() + _GOOD_BYE_S
        while (left := end - time.monotonic()) > 0 and not (self.health and self.health.state == "stopping"):
            received = subscriber.receive(left)
            if received is not None:
                messages.append(received.message)
                self.take(messages[-1:])
        daemon.wait()
        if self.health is None or self.health.state != "stopping":
            self.wrong.append("no good-bye came")
        else:
            self._compare(self.health, subscriber.lost)
        return messages

    def _count(self, message: Prediction) -> None:
        name = message.source
        gap = message.seq - self.counted[name] - self.missed[name] - 1
        if gap < 0 or message.frame_id <= self._frames.get(name, -1):
            self.wrong.append(f"{name}: frame {message.frame_id}, message {message.seq} is out of order")
            return
        self._frames[name] = message.frame_id
        self.counted[name] += 1
        self.missed[name] += gap

    def _check(self, health: Health) -> None:
        for name, source in health.sources.items():
            lost = source.dropped
            dropped = lost.overwritten + lost.stale + lost.decode_error + lost.failed + lost.shutdown
            if source.captured != source.published + dropped + source.in_flight or source.in_flight < 0:
                self.wrong.append(f"{name}: {source}")

    def _compare(self, last: Health, lost: Mapping[str, int]) -> None:
        for name, source in last.sources.items():
            said = last.last_seq.get(predictions_topic(name), 0)
            # The subscriber knows of those behind the last that arrived, too, from the good-bye.
            counted, self.missed[name] = self.counted[name], lost.get(predictions_topic(name), 0)
            if not counted + self.missed[name] == said == source.published:
                self.wrong.append(f"{name}: {counted} counted, {said} sent, {source.published} published")
            if source.in_flight:
                self.wrong.append(f"{name}: {source.in_flight} in flight after the end")
