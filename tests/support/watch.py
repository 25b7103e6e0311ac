# SPDX-License-Identifier: Apache-2.0
"""A subscriber that remembers what it saw, and checks at every message what must hold at any time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from types import TracebackType

from edged.messages import Event, Health, Prediction, Stats, Thermal, predictions_topic
from edged.stages.publish.client import Received
from support.daemon import Daemon, assert_conserved


class Watch:
    """What a daemon publishes, as one subscriber sees it.

    Checked in passing: one boot id; sequence numbers that rise, with every gap reported as a loss; frame ids that rise
    (none twice, none out of order); ages within the limit given; conservation in every health message.

    Args:
        daemon: to connect to.
        topics: prefixes; everything by default.
        max_age_ms: that no prediction may exceed.
    """

    def __init__(self, daemon: Daemon, *topics: str, max_age_ms: float = float("inf")) -> None:
        self._daemon = daemon
        self._max_age_ms = max_age_ms
        self.subscriber = daemon.subscriber(*topics)
        self.predictions: dict[str, list[Prediction]] = {}
        self.healths: list[Health] = []
        self.stats: list[Stats] = []
        self.thermals: list[Thermal] = []
        self.events: list[Event] = []
        self.raw: list[bytes] = []
        self._seqs: dict[str, list[int]] = {}
        self._boot = ""

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.subscriber.close()

    def ids(self, source: str) -> list[int]:
        """Ids of the frames seen of a source."""
        return [message.frame_id for message in self.predictions.get(source, [])]

    @property
    def health(self) -> Health:
        """The newest health message."""
        return self.healths[-1]

    @property
    def stopping(self) -> bool:
        """Whether the daemon has said good-bye."""
        return bool(self.healths) and self.health.state == "stopping"

    def take(self, timeout_s: float) -> Received | None:
        """Take one message and check it."""
        received = self.subscriber.receive(timeout_s)
        if received is not None:
            self._check(received)
        return received

    def until(self, condition: Callable[[], bool], timeout_s: float = 20.0, what: str = "what was waited for") -> None:
        """Take messages until a condition holds."""
        end = time.monotonic() + timeout_s
        while not condition():
            left = end - time.monotonic()
            assert left > 0, f"no {what} within {timeout_s} s; the log:\n{self._daemon.output}"
            ended = self._daemon.process.poll()
            nothing = self.take(min(left, 0.5)) is None
            assert not (nothing and ended is not None), f"no {what}: it ended with {ended}:\n{self._daemon.output}"

    def until_health(
        self, condition: Callable[[Health], bool] = lambda _: True, timeout_s: float = 20.0, what: str = "such health"
    ) -> Health:
        """Take messages until a new health message comes for which a condition holds; returns it."""
        start = len(self.healths)
        self.until(lambda: any(map(condition, self.healths[start:])), timeout_s, what)
        return self.health

    def until_count(self, source: str, count: int, timeout_s: float = 20.0) -> None:
        """Take messages until so many predictions of a source have come."""
        self.until(lambda: len(self.predictions.get(source, [])) >= count, timeout_s, f"{count} predictions")

    def wait_for_all(self, sources: Iterable[str], since_s: float, timeout_s: float) -> None:
        """Wait until a prediction of every source has come whose frame was captured after a moment."""
        names = list(sources)

        def seen() -> bool:
            newest = [self.predictions.get(name, []) for name in names]
            return all(each and each[-1].captured_monotonic_ns > since_s * 1e9 for each in newest)

        self.until(seen, timeout_s, f"fresh predictions of {', '.join(names)}")

    def record(self, seconds: float) -> None:
        """Take messages for some time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.take(left)

    def lost(self, source: str) -> int:
        """Predictions of a source that were sent but did not arrive, after the first one that did."""
        return self.subscriber.lost.get(predictions_topic(source), 0)

    def assert_accounted(self, source: str) -> None:
        """What a subscriber counts, and what it knows to have missed, is what the last health message says."""
        topic = predictions_topic(source)
        before = self._seqs[topic][0] - 1
        counted = before + len(self._seqs[topic]) + self.lost(source)
        assert counted == self.health.last_seq[topic] == self.health.sources[source].published, (source, counted)

    def _check(self, received: Received) -> None:
        message = received.message
        self.raw.append(received.raw)
        self._boot = self._boot or message.boot
        assert message.boot == self._boot
        seqs = self._seqs.setdefault(received.topic, [])
        assert not seqs or message.seq == seqs[-1] + 1 + received.lost or self._lost_at_tail(received), received.topic
        seqs.append(message.seq)
        if isinstance(message, Prediction):
            earlier = self.predictions.setdefault(message.source, [])
            assert not earlier or message.frame_id > earlier[-1].frame_id
            assert 0 <= message.age_ms <= self._max_age_ms
            earlier.append(message)
        elif isinstance(message, Health):
            assert_conserved(message)
            self.healths.append(message)
        elif isinstance(message, Stats):
            self.stats.append(message)
        elif isinstance(message, Thermal):
            self.thermals.append(message)
        else:
            self.events.append(message)

    def _lost_at_tail(self, received: Received) -> bool:
        """A health message may have reported part of a gap before the message behind it came."""
        return received.message.seq > self._seqs[received.topic][-1] + received.lost
