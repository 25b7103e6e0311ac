# SPDX-License-Identifier: Apache-2.0
"""When a source's next frame may be expected, learned from the frames that came."""

from __future__ import annotations

_WEIGHT = 1 / 8
_MOST_LEARNED = 2.0
"""A gap counts as at most so many intervals: a pause changes little, a camera that has slowed down is followed within
some frames."""


class Rhythm:
    """The interval between a source's frames and how much it varies, as exponential averages.

    Most frames of a busy live source are never seen, for newer ones overwrite them; frame ids tell how many.
    """

    __slots__ = ("interval_ns", "last_id", "last_ns", "scatter_ns")

    def __init__(self) -> None:
        self.last_id = -1
        self.last_ns = -1
        self.interval_ns = 0.0
        self.scatter_ns = 0.0

    def observe(self, frame_id: int, ready_ns: int) -> None:
        """Note a frame that became ready; earlier ones, and one noted before, change nothing."""
        count = frame_id - self.last_id
        if count <= 0 or ready_ns <= self.last_ns:
            return
        if self.last_ns >= 0:
            gap, interval = (ready_ns - self.last_ns) / count, self.interval_ns
            if not interval:
                self.interval_ns = gap
            else:
                off = min(gap, _MOST_LEARNED * interval) - interval
                self.interval_ns = interval + _WEIGHT * off
                self.scatter_ns += _WEIGHT * (abs(off) - self.scatter_ns)
        self.last_id, self.last_ns = frame_id, ready_ns

    def next_ns(self) -> float:
        """By when the next frame should be there; in the past for a source that paused or died, -1 while unknown."""
        return self.last_ns + self.interval_ns + self.scatter_ns if self.interval_ns else -1.0
