# SPDX-License-Identifier: Apache-2.0
"""What a subscriber sees, counted in memory that does not grow with time."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from support.daemon import assert_conserved

from edged.messages import Event, Health, Prediction, predictions_topic
from edged.stages.publish.client import Received

_MOST_COMPLAINTS = 50


@dataclass(slots=True)
class Tally:
    """Counts and complaints.

    Attributes:
        max_age_ms: of live sources, by name; the others have none.
        seen: messages by topic.
        before: messages of a topic that were sent before the first one that arrived.
        lost: messages of a topic that did not arrive.
        events: by kind.
        oldest_ms: the highest age seen, by source.
        troubles: what events of severity warning and error said.
        complaints: what was not as it must be.
        health: the newest.
    """

    max_age_ms: dict[str, float]
    seen: Counter[str] = field(default_factory=Counter)
    before: dict[str, int] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    events: Counter[str] = field(default_factory=Counter)
    oldest_ms: dict[str, float] = field(default_factory=dict)
    troubles: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    health: Health | None = None
    _frames: dict[str, int] = field(default_factory=dict)

    def take(self, received: Received) -> None:
        """Count a message and check what it says."""
        message, topic = received.message, received.topic
        self.before.setdefault(topic, message.seq - 1)
        self.seen[topic] += 1
        self.lost[topic] += received.lost
        for other, lost in received.tail_lost.items():
            self.lost[other] += lost
        if isinstance(message, Prediction):
            self._take_prediction(message)
        elif isinstance(message, Health):
            self.health = message
            try:
                assert_conserved(message)
            except AssertionError as error:
                self.complain(f"not conserved: {error}")
        elif isinstance(message, Event):
            self.events[message.kind] += 1
            if (
                message.severity != "info"
                and message.kind != "reload-refused"
                and len(self.troubles) < _MOST_COMPLAINTS
            ):
                self.troubles.append(f"{message.kind}: {message.text}")

    def complain(self, text: str) -> None:
        """Note what is wrong; the first ones are enough."""
        if len(self.complaints) < _MOST_COMPLAINTS:
            self.complaints.append(text)

    def close(self) -> None:
        """Compare what arrived with what the last health message says was published."""
        if self.health is None:
            self.complain("no health message came")
            return
        for name, source in self.health.sources.items():
            topic = predictions_topic(name)
            counted = self.before.get(topic, 0) + self.seen[topic] + self.lost[topic]
            if not counted == source.published == self.health.last_seq.get(topic, 0):
                last = self.health.last_seq.get(topic, 0)
                self.complain(
                    f"source {name}: {counted} arrived or known lost, {source.published} published, seq {last}"
                )

    def _take_prediction(self, message: Prediction) -> None:
        source = message.source
        last = self._frames.get(source, -1)
        if message.frame_id <= last:
            self.complain(f"source {source}: frame {message.frame_id} after {last}")
        self._frames[source] = message.frame_id
        self.oldest_ms[source] = max(self.oldest_ms.get(source, 0.0), message.age_ms)
        limit = self.max_age_ms.get(source)
        if limit is not None and message.age_ms > limit:
            self.complain(f"source {source}: frame {message.frame_id} is {message.age_ms:.0f} ms old")
