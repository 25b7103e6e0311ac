# SPDX-License-Identifier: Apache-2.0
"""A subscriber that also notes when it learnt of what happens to sources, and checks the rates of those left alone."""

from __future__ import annotations

import time
from itertools import pairwise, takewhile
from typing import NamedTuple

import msgspec

from edged.messages import Event, Health, Prediction
from edged.stages.publish.client import Received
from support.daemon import Daemon
from support.watch import Watch

GRIEF = ("stalled", "backoff", "failed")
_ENOUGH_FRAMES = 5


class Change(NamedTuple):
    """A source's state as the subscriber learnt of it.

    Attributes:
        at_s: on CLOCK_MONOTONIC, seconds.
        state: see `edged.messages.SourceHealth`.
        reason: why.
    """

    at_s: float
    state: str
    reason: str


class Pace(NamedTuple):
    """How a source kept its rate over some time.

    Attributes:
        frames: predictions in that time.
        rate_hz: by the times at which their frames were captured.
        longest_gap_s: between the captures of two.
        missing: frames that were captured but not published, in between.
        reasons: why, as the daemon counted.
    """

    frames: int
    rate_hz: float
    longest_gap_s: float
    missing: int
    reasons: dict[str, int]


class SourceWatch(Watch):
    """Watches all topics. All times are seconds on CLOCK_MONOTONIC, which the daemon shares."""

    def __init__(self, daemon: Daemon) -> None:
        super().__init__(daemon)
        self.changes: dict[str, list[Change]] = {}

    def __enter__(self) -> SourceWatch:
        return self

    def take(self, timeout_s: float) -> Received | None:
        """Take one message, check it, and note what it says about sources."""
        received = super().take(timeout_s)
        if received is not None:
            now = time.monotonic()
            if isinstance(received.message, Event) and received.message.kind.startswith("source-"):
                state = received.message.kind.removeprefix("source-")
                self._note(received.message.source, Change(now, state, received.message.text))
            elif isinstance(received.message, Health):
                for name, source in received.message.sources.items():
                    self._note(name, Change(now, source.state, source.reason))
        return received

    def seen_after(self, source: str, since_s: float) -> Change | None:
        """The first news after a moment that all is not well with a source."""
        news = (change for change in self.changes.get(source, []) if change.at_s >= since_s)
        return next((change for change in news if change.state in GRIEF), None)

    def until_seen(self, source: str, since_s: float, timeout_s: float) -> float:
        """Wait for that news; returns how long after the moment it came (seconds)."""
        self.until(lambda: self.seen_after(source, since_s) is not None, timeout_s, f"news that {source} is in trouble")
        change = self.seen_after(source, since_s)
        assert change is not None
        return change.at_s - since_s

    def until_live(self, source: str, timeout_s: float) -> None:
        """Wait until the newest news of a source is that all is well."""

        def live() -> bool:
            known = self.changes.get(source, [])
            return bool(known) and known[-1].state == "live"

        self.until(live, timeout_s, f"news that {source} is live")

    def until_steady(self, source: str, timeout_s: float) -> None:
        """Wait until a source is live and has given enough frames since to have shown its rate."""
        self.until_live(source, timeout_s)
        since_s = self.changes[source][-1].at_s

        def steady() -> bool:
            captured = (each.captured_monotonic_ns / 1e9 for each in reversed(self.predictions[source]))
            return sum(1 for _ in takewhile(lambda at_s: at_s > since_s, captured)) >= _ENOUGH_FRAMES

        self.until(steady, timeout_s, f"frames of {source} in a row")

    def until_back(self, source: str, since_s: float, timeout_s: float) -> float:
        """Wait for a prediction whose frame was captured after a moment; returns how long after it that came."""
        self.wait_for_all([source], since_s, timeout_s)
        after = [each for each in self.predictions[source] if each.captured_monotonic_ns > since_s * 1e9]
        return _published_s(after[0]) - since_s

    def pace(self, source: str, start_s: float, end_s: float) -> Pace:
        """How a source did between two moments."""
        frames = [
            each for each in self.predictions.get(source, []) if start_s <= each.captured_monotonic_ns / 1e9 < end_s
        ]
        if len(frames) < 2:
            return Pace(len(frames), 0.0, end_s - start_s, 0, {})
        times = [each.captured_monotonic_ns / 1e9 for each in frames]
        gaps = [after - before for before, after in pairwise(times)]
        missing = frames[-1].frame_id - frames[0].frame_id + 1 - len(frames)
        before, after = (msgspec.structs.asdict(each.dropped) for each in (frames[0], frames[-1]))
        reasons = {reason: count - before[reason] for reason, count in after.items() if count > before[reason]}
        return Pace(len(frames), len(gaps) / (times[-1] - times[0]), max(gaps), missing, reasons)

    def _note(self, source: str, change: Change) -> None:
        known = self.changes.setdefault(source, [])
        if not known or known[-1].state != change.state:
            known.append(change)


def _published_s(message: Prediction) -> float:
    return message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3
