# SPDX-License-Identifier: Apache-2.0
"""Pictures more like photographs than noise is: soft gradients, shapes, a little noise. Needs numpy only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_GRID = 7


def pictures(count: int, height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Some pictures, ``count×height×width×3`` uint8; the same for the same seed."""
    rng = np.random.default_rng(seed)
    return np.stack([_picture(rng, height, width) for _ in range(count)])


def _picture(rng: np.random.Generator, height: int, width: int) -> NDArray[np.uint8]:
    coarse = rng.uniform(0, 255, (_GRID, _GRID, 3)).astype(np.float32)
    rows, columns = _between(height), _between(width)
    soft = np.einsum("hi,ijc,wj->hwc", rows, coarse, columns, optimize=True)
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    for _ in range(int(rng.integers(3, 9))):
        x, y = rng.uniform(0, width), rng.uniform(0, height)
        a, b = rng.uniform(0.04, 0.3, 2) * (width, height)
        if rng.random() < 0.5:
            inside = ((across - x) / a) ** 2 + ((down - y) / b) ** 2 < 1
        else:
            inside = (abs(across - x) < a) & (abs(down - y) < b)
        soft[inside] = rng.uniform(0, 255, 3)
    noisy = soft + rng.normal(0, 4, soft.shape).astype(np.float32)
    picture: NDArray[np.uint8] = np.clip(noisy, 0, 255).astype(np.uint8)
    return picture


def _between(size: int) -> NDArray[np.float32]:
    """Weights, ``size×_GRID``, that interpolate a coarse row linearly."""
    place = np.linspace(0, _GRID - 1, size)
    weights: NDArray[np.float32] = np.clip(1 - abs(place[:, None] - np.arange(_GRID)), 0, 1).astype(np.float32)
    return weights
