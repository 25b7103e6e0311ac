# SPDX-License-Identifier: Apache-2.0
"""Which batch size ONNX Runtime is fastest at on this machine. On a small CPU it is often 1."""

from __future__ import annotations

import time
from collections.abc import Callable

_SIZES = (1, 2, 4, 8)
_WORTHWHILE = 1.05
_BUDGET_S = 0.4
_RUNS = 3


def best_batch(run: Callable[[int], object], limit: int, clock: Callable[[], float] = time.monotonic) -> int:
    """Measure increasing batch sizes and return the one with the best rate.

    A larger batch must be worth its longer wait: at least 5 % more frames a second than the size before it. The
    search ends at the first size that is not, and when its time is up.

    Args:
        run: infers a batch of n frames.
        limit: largest size allowed.
        clock: seconds.
    """
    end = clock() + _BUDGET_S
    best, best_rate = 1, 0.0
    for size in (size for size in _SIZES if size <= limit):
        run(size)
        took = []
        for _ in range(_RUNS):
            start = clock()
            run(size)
            took.append(clock() - start)
        rate = size / max(min(took), 1e-9)
        if best_rate and rate < best_rate * _WORTHWHILE:
            break
        best, best_rate = size, rate
        if clock() > end:
            break
    return best
