# SPDX-License-Identifier: Apache-2.0
"""Where a tensor's INT8 range ends: thresholds from histograms of absolute values.

A threshold T stands for the scale T / 127: values up to T are rounded to 127 steps each side, larger ones clipped.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from edged.engine.int8.histogram import BINS, Histogram

Method = Literal["minmax", "percentile-99.999", "percentile-99.99", "percentile-99.9", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)
STEPS = 127
"""Steps on each side of zero; -128 is not used, so that the range is symmetric."""

_LEVELS = STEPS + 1
_MSE_CANDIDATES = 96


def threshold(histogram: Histogram, method: Method) -> float:
    """Find the threshold of a tensor; 0 for one that was 0 everywhere.

    - ``minmax``: the largest absolute value.
    - ``percentile-p``: the smallest bin edge below which p percent of the absolute values lie.
    - ``entropy``: least Kullback-Leibler divergence, see `entropy`.
    - ``mse``: least mean squared error, see `mse`.

    No method goes beyond the largest value.
    """
    if histogram.exponent is None:
        return 0.0
    if method == "minmax":
        return histogram.largest
    if method.startswith("percentile-"):
        found = percentile(histogram, float(method.removeprefix("percentile-")))
    else:
        finders: dict[str, Callable[[Histogram], float]] = {"entropy": entropy, "mse": mse}
        found = finders[method](histogram)
    return min(found, histogram.largest)


def percentile(histogram: Histogram, percent: float) -> float:
    """Smallest bin edge below which at least ``percent`` of the absolute values lie."""
    below = np.cumsum(histogram.counts)
    first = int(np.searchsorted(below, below[-1] * (percent / 100)))
    return (min(first, BINS - 1) + 1) * histogram.width


def mse(histogram: Histogram) -> float:
    """Threshold with the least mean of (x - Q(x))², Q rounding to T / 127 and clipping at T.

    The mean is taken over bin centres; candidates for T are `_MSE_CANDIDATES` fractions of the largest value.
    """
    used = np.flatnonzero(histogram.counts)
    values, counts = histogram.centres()[used], histogram.counts[used].astype(np.float64)
    candidates = histogram.largest * np.arange(1, _MSE_CANDIDATES + 1) / _MSE_CANDIDATES
    errors = []
    for candidate in candidates:
        scale = candidate / STEPS
        rounded = np.minimum(np.rint(values / scale), STEPS) * scale
        errors.append(float(counts @ (values - rounded) ** 2))
    return float(candidates[int(np.argmin(errors))])


def entropy(histogram: Histogram) -> float:
    """Threshold whose quantized distribution diverges least from the clipped one.

    As in S. Migacz, "8-bit Inference with TensorRT" (GTC 2017): for every T at a bin edge, P is the distribution below
    T with all that is clipped added to its last bin, Q the distribution below T spread evenly over the non-empty bins
    of each of 128 levels; the T with the least KL(P || Q) is taken. Both are smoothed where Q is empty and P is not.
    Candidates are the multiples of 128 / 8 bins, which is fine enough for 4096 bins.
    """
    counts = histogram.counts.astype(np.float64)
    # Zeros need no steps of their own and would outweigh all else where an activation makes many of them.
    counts[0] = counts[1]
    last = int(np.flatnonzero(counts)[-1]) + 1 if counts.any() else BINS
    best, found = np.inf, BINS
    for stop in range(_LEVELS, max(last, _LEVELS) + _LEVELS // 8, _LEVELS // 8):
        stop = min(stop, BINS)
        divergence = _divergence(counts, stop)
        if divergence < best:
            best, found = divergence, stop
    return found * histogram.width


def _divergence(counts: NDArray[np.float64], stop: int) -> float:
    below = counts[:stop]
    clipped = below.copy()
    clipped[-1] += counts[stop:].sum()
    levels = np.arange(stop) * _LEVELS // stop
    filled = below > 0
    totals = np.bincount(levels, weights=below, minlength=_LEVELS)
    numbers = np.bincount(levels, weights=filled.astype(np.float64), minlength=_LEVELS)
    spread = np.where(filled, (totals / np.maximum(numbers, 1))[levels], 0.0)
    total, spread_total = clipped.sum(), spread.sum()
    if not total or not spread_total:
        return float("inf")
    p, q = clipped / total, spread / spread_total
    here = p > 0
    return float(np.sum(p[here] * np.log(p[here] / np.maximum(q[here], 1e-10))))
