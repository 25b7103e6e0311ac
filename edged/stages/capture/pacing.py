# SPDX-License-Identifier: Apache-2.0
"""When the next frame is due, and which frames are too many. Pure: time is passed in, CLOCK_MONOTONIC nanoseconds."""

from __future__ import annotations

import math
from fractions import Fraction

_SECOND_NS = 10**9


class Pacer:
    """A clock for sources that have none: files and scenes played live.

    Frames are due on a grid that the first one starts, so that the rate does not drift. Whoever is late gets the latest
    tick at once and has missed those before it: never two frames for one tick, never a burst to catch up.

    Args:
        fps: frames per second, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._period = _period_ns(fps)
        self._start_ns = 0
        self._tick = -1

    def due_ns(self, now_ns: int) -> int:
        """Take the next tick.

        Args:
            now_ns: the time.

        Returns:
            When its frame is due; not after ``now_ns`` if that is at once.
        """
        if self._tick < 0:
            self._start_ns = now_ns
        latest = math.floor((now_ns - self._start_ns) / self._period)
        self._tick = max(self._tick + 1, latest)
        return self._start_ns + math.ceil(self._tick * self._period)


class RateCap:
    """An upper bound of a source's rate.

    Frames of a source that is faster pass at the cap on average, as evenly as they came. A source that is slower passes
    whole, also where its frames come a little unevenly or after a pause. In any time T at most T × fps + 3 frames pass.

    Args:
        fps: frames per second, above 0.
    """

    def __init__(self, fps: float) -> None:
        self._period = math.ceil(_period_ns(fps))
        # A camera at exactly the cap sends frames now early, now late: without tolerance it would lose every early one.
        self._tolerance = self._period // 4
        self._next: int | None = None

    def next_ns(self, now_ns: int) -> int:
        """When the next frame may be taken, for sources that can wait; the time itself if that is now."""
        return now_ns if self._next is None else max(now_ns, self._next)

    def allow(self, now_ns: int) -> bool:
        """Whether a frame that came now may pass; counts it if so."""
        if self._next is None:
            self._next = now_ns
        if now_ns < self._next - self._tolerance:
            return False
        # Up to a period of lateness is kept as credit: at 30 frames per second a cap of 20 lets pass 2 of 3, which come
        # up to two thirds of a period late. More would be a burst after a pause.
        self._next = max(self._next, now_ns - self._period) + self._period
        return True


def _period_ns(fps: float) -> Fraction:
    """Time between two frames, nanoseconds, exactly: a rounded one would drift."""
    if not (fps > 0 and math.isfinite(fps)):
        raise ValueError(f"fps must be above 0, not {fps}")
    return _SECOND_NS / Fraction(fps)
