# SPDX-License-Identifier: Apache-2.0
"""How old what was published was: counts and sums in shared memory, written by publish and read by the supervisor.

They outlive the publish process and are never reset: whoever reads keeps what was read last and subtracts it. The bins
are those of `edged.monitor.ledger.bins`. Nothing is locked: what is read may be a message ahead in one word and not in
another, which the next reading makes up for.
"""

from __future__ import annotations

from typing import NamedTuple

from edged.monitor.ledger.bins import BINS, bin_of
from edged.monitor.ledger.sample import Latencies

_FRAMES, _TOTAL, _SQUARES, _BINS = 0, 1, 2, 3
TALLY_WORDS = _BINS + BINS
_HALF, _ALL = 1 << 63, (1 << 64) - 1


class Counted(NamedTuple):
    """All that was counted until a moment: messages, Σ µs, Σ µs² modulo 2⁶⁴, and the bins."""

    frames: int
    total_us: int
    squares: int
    bins: list[int]

    def since(self, before: Counted) -> Latencies:
        """What came after an earlier moment."""
        pairs = enumerate(zip(self.bins, before.bins, strict=True))
        grown = {index: now - then for index, (now, then) in pairs if now > then}
        # The sum of squares may go round the 64 bits of its word; what came within seconds is far less than once.
        squares = (self.squares - before.squares) & _ALL
        return Latencies(self.frames - before.frames, self.total_us - before.total_us, squares, grown)


class Tally:
    """One writer, any number of readers.

    Args:
        words: `TALLY_WORDS` of them, zero at first.
    """

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def add(self, age_ns: int) -> None:
        """Count a message of this age, nanoseconds; about a microsecond."""
        words, age_us = self._words, max(age_ns, 0) // 1000
        words[_BINS + bin_of(age_us / 1000)] += 1
        words[_TOTAL] += age_us
        words[_SQUARES] = ((words[_SQUARES] + age_us * age_us + _HALF) & _ALL) - _HALF
        words[_FRAMES] += 1

    def read(self) -> Counted:
        """Everything so far."""
        frames, total, squares, *bins = self._words.tolist()
        return Counted(frames, total, squares, bins)
