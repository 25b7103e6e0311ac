# SPDX-License-Identifier: Apache-2.0
"""What is kept of a tensor over all calibration frames: how large its values are, in a fixed amount of memory."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 4096
_SMALLEST = -100  # binary exponent; what is smaller counts as 0
_LARGEST = 127


class Histogram:
    """Counts absolute values in `BINS` equal bins from 0 to a power of two, which doubles when a larger value comes.

    Doubling joins bins in pairs, so nothing is ever guessed: at the end the counts are those of one histogram over all
    values at once, in whatever order and portions they came. At least half of the bins are in use.

    Attributes:
        counts: int64 [BINS].
        exponent: binary logarithm of the range; None before the first finite value above 0.
        largest: largest absolute value, exactly.
        broken: how many values were NaN or infinite; they are in no bin.
    """

    def __init__(self) -> None:
        self.counts: NDArray[np.int64] = np.zeros(BINS, np.int64)
        self.exponent: int | None = None
        self.largest = 0.0
        self.broken = 0

    @property
    def total(self) -> int:
        """How many values were counted."""
        return int(self.counts.sum())

    @property
    def width(self) -> float:
        """Width of a bin."""
        return 0.0 if self.exponent is None else math.ldexp(1.0, self.exponent) / BINS

    def centres(self) -> NDArray[np.float64]:
        """Middle of every bin, float64 [BINS]."""
        middle: NDArray[np.float64] = (np.arange(BINS, dtype=np.float64) + 0.5) * self.width
        return middle

    def add(self, values: NDArray[Any]) -> None:
        """Count values of any shape; float16 and float32 are counted as they are."""
        sizes = np.abs(values.reshape(-1)).astype(np.float32, copy=False)
        if not sizes.size:
            return
        largest = float(sizes.max())
        if not math.isfinite(largest):
            finite = sizes[np.isfinite(sizes)]
            self.broken += sizes.size - finite.size
            self.add(finite)
            return
        self.largest = max(self.largest, largest)
        self._grow(largest)
        if self.exponent is None:
            self.counts[0] += sizes.size
            return
        # Exact: a power of two as factor only moves the exponent.
        sizes *= np.float32(math.ldexp(BINS, -self.exponent))
        np.minimum(sizes, BINS - 1, out=sizes)
        self.counts += np.bincount(sizes.astype(np.int32), minlength=BINS)

    def clipped(self, threshold: float) -> float:
        """Part of the values that are larger, 0 to 1, to the precision of a bin."""
        if not self.total or self.exponent is None:
            return 0.0
        first = min(BINS, math.ceil(threshold / self.width))
        return float(self.counts[first:].sum()) / self.total

    def _grow(self, largest: float) -> None:
        if largest < math.ldexp(1.0, _SMALLEST):
            return
        # frexp: largest = mantissa * 2^exponent with mantissa < 1, so largest lies below the range.
        exponent = min(math.frexp(largest)[1], _LARGEST)
        if self.exponent is None:
            self.exponent = exponent
        elif exponent > self.exponent:
            self.counts = _joined(self.counts, exponent - self.exponent)
            self.exponent = exponent


def _joined(counts: NDArray[np.int64], doublings: int) -> NDArray[np.int64]:
    """The same counts in bins ``2**doublings`` times as wide."""
    if doublings <= 0:
        return counts
    factor = 1 << min(doublings, BINS.bit_length() - 1)
    joined = np.zeros_like(counts)
    joined[: BINS // factor] = counts.reshape(-1, factor).sum(axis=1)
    return joined
