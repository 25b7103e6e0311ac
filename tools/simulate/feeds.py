# SPDX-License-Identifier: Apache-2.0
"""The sources of a simulation: when each delivers its frames."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import NamedTuple

MS = 1_000_000
NS = 1_000_000_000


class Feed(NamedTuple):
    """One source.

    Attributes:
        fps: frames a second while it delivers.
        jitter_ms: standard deviation of a frame's arrival.
        pause_ms: how long it delivers nothing before each key frame.
        key_s: seconds from one key frame to the next, the pause not counted.
        max_age_ms: of a live source; None makes it lossless.
        priority: see the settings.
        dies_s: after so many seconds nothing comes any more, without a word.
    """

    fps: float
    jitter_ms: float = 0.0
    pause_ms: float = 0.0
    key_s: float = 4.0
    max_age_ms: float | None = 500.0
    priority: int = 0
    dies_s: float = float("inf")

    def arrivals(self, seed: str, end_ns: int) -> Iterator[int]:
        """When its frames come: nanoseconds, increasing, before the end."""
        chance = random.Random(seed)
        interval = NS / self.fps
        due, key, last = chance.uniform(0, interval), chance.uniform(0, self.key_s) * NS, -1
        while True:
            if due >= key:
                due += self.pause_ms * MS
                key += (self.key_s * NS) + self.pause_ms * MS
            at = max(last + 1, round(due + chance.gauss(0.0, self.jitter_ms * MS)))
            if at >= min(end_ns, self.dies_s * NS):
                return
            yield at
            last, due = at, due + interval


def mixed(each: int, *, max_age_ms: float = 500.0, jitter_ms: float = 3.0) -> list[Feed]:
    """``each`` sources of 5, of 15 and of 30 frames a second; every other one pauses 500 ms before each key frame."""
    return [
        Feed(fps, jitter_ms, 500.0 if number % 2 else 0.0, max_age_ms=max_age_ms)
        for fps in (5.0, 15.0, 30.0)
        for number in range(each)
    ]


def offered_hz(feeds: Sequence[Feed], seed: int, seconds: float) -> float:
    """Frames a second that all sources together deliver in a run, pauses included."""
    end = int(seconds * NS)
    return sum(1 for number, feed in enumerate(feeds) for _ in feed.arrivals(f"{seed} {number}", end)) / seconds
