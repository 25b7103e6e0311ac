# SPDX-License-Identifier: Apache-2.0
"""Agreement over the last frames, and when it is worth an event. No numpy: the supervisor keeps these."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Literal, NamedTuple

SHORT = 100
LONG = 1000
FEWEST = 50
"""Frames that a verdict needs."""
DWELL_S = 60.0
"""Least time between two verdicts."""


class Figures(NamedTuple):
    """Agreement of some frames.

    Attributes:
        frames: how many.
        mean: points.
        worst: points.
        score_shift: mean of the frames that have one; None where none has.
    """

    frames: int
    mean: float
    worst: float
    score_shift: float | None


class Window:
    """The last frames' agreement."""

    def __init__(self) -> None:
        self._kept: deque[tuple[float, float | None]] = deque(maxlen=LONG)

    def add(self, points: float, score_shift: float | None) -> None:
        """Note a frame."""
        self._kept.append((points, score_shift))

    def last(self, count: int) -> Figures | None:
        """Figures of the last frames, as many as there are but no more than ``count``; None where there are none."""
        kept = list(self._kept)[-count:]
        return _figures(kept) if kept else None


def _figures(kept: Sequence[tuple[float, float | None]]) -> Figures:
    points = [each for each, _ in kept]
    shifts = [shift for _, shift in kept if shift is not None]
    mean_shift = sum(shifts) / len(shifts) if shifts else None
    return Figures(len(points), sum(points) / len(points), min(points), mean_shift)


class Alarm:
    """Says once when the mean falls below its bound, and once when it is back; never in quick succession.

    It is back only when it is a fifth of the way from the bound to 100 above the bound. Between two verdicts lie
    `DWELL_S` and as many new frames as a verdict needs.

    Args:
        bound: points.
    """

    def __init__(self, bound: float) -> None:
        self.bound = bound
        self.below = False
        self._back = bound + (100.0 - bound) / 5
        self._since = 0
        self._changed_s = float("-inf")

    def look(self, recent: Figures, now_s: float) -> Literal["below", "back"] | None:
        """Judge after every new frame.

        Args:
            recent: of the last `SHORT` frames.
            now_s: monotonic clock, seconds.
        """
        self._since += 1
        if recent.frames < FEWEST or self._since < FEWEST or now_s - self._changed_s < DWELL_S:
            return None
        if (recent.mean >= self._back) if self.below else (recent.mean < self.bound):
            self.below = not self.below
            self._since, self._changed_s = 0, now_s
            return "below" if self.below else "back"
        return None
