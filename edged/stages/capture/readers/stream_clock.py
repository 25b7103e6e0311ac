# SPDX-License-Identifier: Apache-2.0
"""Whether a stream's frames are taken as they come, told by the stream's own timestamps. Pure: times are passed in.

A reader that is too slow, or stood still for a while, gets frames that have waited in the buffers below it: they come
at once, and the times when they come tell nothing of how old they are. Their timestamps do. The difference between
arrival and timestamp is smallest for frames that were taken when they came; what it is more than that, a frame has
waited.
"""

from __future__ import annotations

_SECOND_NS = 10**9
_LEAP_NS = 5 * _SECOND_NS
_WAITED_PART = 4
_SETTLE_PART = 4
_SURELY_WAITED_NS = 5_000_000


class StreamClock:
    """Follows one stream.

    Cameras' clocks drift, leap when their time is set, and some are made up from a nominal rate. So a frame that had to
    be waited for is fresh whatever its timestamp says, and moves the reference; and where timestamps do not rise, or
    leap, everything begins anew.

    Attributes:
        period_ns: between two frames, by their timestamps; 0 while it is not known.
        settled: whether a frame had to be waited for. Until then all may have waited since the stream was opened, and
            nothing tells for how long.
    """

    def __init__(self) -> None:
        self._reference: float | None = None
        self._stream_ns = 0
        self._arrival_ns = 0
        self.period_ns = 0
        self.settled = False

    def lag_ns(self, stream_ns: int, arrival_ns: int, waited_ns: int) -> int:
        """How long a frame has waited in buffers before it was taken, nanoseconds; 0 where nobody can know.

        Args:
            stream_ns: its timestamp, from any origin.
            arrival_ns: when it was taken, monotonic.
            waited_ns: how much of the time that taking it took was spent waiting.
        """
        step_ns, passed_ns = stream_ns - self._stream_ns, arrival_ns - self._arrival_ns
        known = self._reference is not None
        self.settled = self.settled or waited_ns > max(_SURELY_WAITED_NS, self.period_ns // _WAITED_PART)
        self._stream_ns, self._arrival_ns = stream_ns, arrival_ns
        offset = float(arrival_ns - stream_ns)
        if not known or not 0 < step_ns < max(passed_ns, 0) + _LEAP_NS:
            self._reference, self.period_ns = offset, 0
            return 0
        self.period_ns = step_ns if self.period_ns == 0 else (3 * self.period_ns + step_ns) // 4
        assert self._reference is not None
        if offset <= self._reference:
            self._reference = offset
            return 0
        if waited_ns * _WAITED_PART > self.period_ns:
            # A step at a time: on a busy machine, not to run for a moment looks like waiting.
            self._reference += (offset - self._reference) / _SETTLE_PART
            return 0
        return int(offset - self._reference)
