# SPDX-License-Identifier: Apache-2.0
"""What a backend's profiler brought: the layers, and how long a whole run took with and without it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edged.bench.layers.records import Layer


@dataclass(frozen=True)
class Measured:
    """Layers of one batch size.

    Attributes:
        backend: ``tensorrt`` or ``onnxruntime``.
        layers: in the order of the run; times are medians.
        runs: how many were timed, after the warm-up.
        plain_ms: median of a whole run without the profiler.
        detailed: whether types and shapes of the layers are known.
        uncounted: nodes whose multiply-adds could not be counted.
    """

    backend: str
    layers: tuple[Layer, ...]
    runs: int
    plain_ms: float
    detailed: bool = True
    uncounted: tuple[str, ...] = ()


def middle(values: Sequence[float]) -> tuple[float, float]:
    """Median, and the distance between the quartiles."""
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), (25, 50, 75))
    return float(median), float(high - low)
