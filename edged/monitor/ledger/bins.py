# SPDX-License-Identifier: Apache-2.0
"""Log-spaced bins for latencies: percentiles of any number of values from one small row of counts.

Bin ``i`` (1 to 470) holds the latencies from ``0.01 ms · 1.04^(i-1)`` up to, but without, ``0.01 ms · 1.04^i``. A bin
from ``a`` to ``b`` is reported as ``2ab/(a+b)``, the value whose largest relative error over the bin is smallest:
``(b-a)/(b+a)``, here 1.97 %. Bin 0 holds what is shorter than 10 µs and is reported as 10 µs; the last one holds what
is longer than 1000 s and is reported as that. Rows are merged by adding them, and a row of a window that slides loses
what has left it by subtraction: both are exact, so that the error does not grow however often it is done.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import accumulate
from math import ceil, log

LOW_MS = 0.01
HIGH_MS = 1e6
GROWTH = 1.04
RELATIVE_ERROR = (GROWTH - 1) / (GROWTH + 1)
"""Of a percentile between `LOW_MS` and `HIGH_MS`."""
_LOG_GROWTH = log(GROWTH)
BINS = ceil(log(HIGH_MS / LOW_MS) / _LOG_GROWTH) + 2
"""How many counts a row has."""


def bin_of(latency_ms: float) -> int:
    """The bin that counts a latency; what is no latency (negative, not a number) counts as the shortest."""
    if not latency_ms >= LOW_MS:
        return 0
    if latency_ms >= HIGH_MS:
        return BINS - 1
    return 1 + int(log(latency_ms / LOW_MS) / _LOG_GROWTH)


def value_of(index: int) -> float:
    """What a bin is reported as, milliseconds.

    Args:
        index: 0 to `BINS` − 1.
    """
    if index <= 0:
        return LOW_MS
    if index >= BINS - 1:
        return HIGH_MS
    lower = LOW_MS * GROWTH ** (index - 1)
    return 2 * lower * GROWTH / (1 + GROWTH)


def percentiles(counts: Sequence[int], wanted: Sequence[int]) -> list[float]:
    """Percentiles of what a row has counted, milliseconds, by nearest rank.

    The p-th percentile of n values is the ceil(n·p/100)-th smallest of them: always one that occurred.

    Args:
        counts: a whole row, at least one of them above 0.
        wanted: percents, 1 to 100.
    """
    until = list(accumulate(counts))
    return [value_of(bisect_left(until, -(-until[-1] * percent // 100))) for percent in wanted]
