# SPDX-License-Identifier: Apache-2.0
"""What a capture process is at, in its row of the board: written by it, watched by the supervisor.

A call that hangs in C says nothing, and one that returns proves nothing. So the supervisor looks at what arrived: how
many pictures, how long the next one has been expected, and how far apart they usually are. A process that waits because
it is told to (for its tick, for room in the ring) says so twice a second, and is left alone as long as it does.
"""

from __future__ import annotations

import time
from collections import deque
from enum import IntEnum
from typing import NamedTuple

from edged.shm.board import Row

# Words of the row.
_PHASE, _INTERVAL_NS, _TRIED, _TRIES, _BROKEN = range(5)
_PHASE_BITS = 2
_INTERVALS = 15
_ENOUGH = 3
_MOST_DEBT = 5


class Phase(IntEnum):
    """What a capture process is at."""

    IDLE = 0
    OPENING = 1
    EXPECTING = 2
    WAITING = 3


class Standing(NamedTuple):
    """How a source stands at one moment.

    Attributes:
        phase: what its process is at.
        since_s: since when, monotonic seconds.
        frames: pictures that have arrived since boot, but those right behind broken ones.
        interval_s: usual time that passes until the next one, seconds, now or when it was open before; 0 while it is
            not known.
        broken: frames since boot that were no picture.
    """

    phase: Phase = Phase.IDLE
    since_s: float = 0.0
    frames: int = 0
    interval_s: float = 0.0
    broken: int = 0


class Progress:
    """A capture process's side of its row, and the supervisor's: `standing` and `clear`.

    Args:
        row: of the board.
    """

    def __init__(self, row: Row) -> None:
        self._row = row
        self._expected_ns = 0
        self._intervals: deque[int] = deque(maxlen=_INTERVALS)
        self._debt = 0

    # capture ---------------------------------------------------------------------------------------------------------

    def opening(self) -> None:
        """A step of opening the source begins."""
        self._intervals.clear()
        self._enter(Phase.OPENING, time.monotonic_ns())

    def expect(self) -> None:
        """From now on a picture is expected."""
        self._expected_ns = time.monotonic_ns()
        self._enter(Phase.EXPECTING, self._expected_ns)

    def wait(self) -> None:
        """None is: there is no room for it, or it is not due. To be said again at least twice a second."""
        self._enter(Phase.WAITING, time.monotonic_ns())

    def rest(self) -> None:
        """Nothing is being done: the source is closed."""
        self._enter(Phase.IDLE, time.monotonic_ns())

    def broken(self) -> None:
        """What came is no picture."""
        self._debt = min(_MOST_DEBT, self._debt + 1)
        self._row.set_word(_BROKEN, self._row.word(_BROKEN) + 1)

    def arrived(self) -> None:
        """A picture came; the next one is expected from now on.

        Behind broken ones as many must come as were broken, up to five, before they count: where nearly all is damaged,
        a decoder now and then makes a picture up.
        """
        if self._debt:
            self._debt -= 1
            return
        now = time.monotonic_ns()
        self._intervals.append(now - self._expected_ns)
        if len(self._intervals) >= _ENOUGH:
            # The median: neither the pause around a key frame nor a burst after it is what is usual.
            self._row.set_word(_INTERVAL_NS, sorted(self._intervals)[len(self._intervals) // 2])
        self._row.beat()
        self._expected_ns = now
        self._enter(Phase.EXPECTING, now)

    def attempt(self, position: int) -> None:
        """The frame at a position is about to be read; see `deaths`."""
        row = self._row
        tries = row.word(_TRIES) + 1 if row.word(_TRIED) == position + 1 else 1
        row.set_word(_TRIES, tries)
        row.set_word(_TRIED, position + 1)

    def survived(self) -> None:
        """The read that was attempted has returned."""
        self._row.set_word(_TRIED, 0)

    def deaths(self, position: int) -> int:
        """How many processes died in a row while they read the frame at a position."""
        row = self._row
        return row.word(_TRIES) if row.word(_TRIED) == position + 1 else 0

    def _enter(self, phase: Phase, now_ns: int) -> None:
        # One word, so that nobody sees a phase with another one's time.
        self._row.set_word(_PHASE, now_ns << _PHASE_BITS | phase)

    # supervisor ------------------------------------------------------------------------------------------------------

    def standing(self) -> Standing:
        """How the source stands."""
        row = self._row
        word = row.word(_PHASE)
        phase = Phase(word & (1 << _PHASE_BITS) - 1)
        since_s, interval_s = (word >> _PHASE_BITS) / 1e9, row.word(_INTERVAL_NS) / 1e9
        return Standing(phase, since_s, row.beats, interval_s, row.word(_BROKEN))

    def clear(self, *, excuse: bool) -> None:
        """After the process died: nobody is at anything.

        Args:
            excuse: whether its death is no fault of the frame that it was reading.
        """
        self.rest()
        if excuse:
            self.survived()
