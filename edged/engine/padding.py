# SPDX-License-Identifier: Apache-2.0
"""Batches of the size that a graph or an engine takes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engine.batches import Batches
from edged.engine.workshop import Run


def filled(frames: NDArray[Any], count: int) -> NDArray[Any]:
    """Frames with the last one repeated until there are ``count``; more are left as they are."""
    missing = count - len(frames)
    return frames if missing <= 0 else np.concatenate([frames, np.repeat(frames[-1:], missing, axis=0)])


def at_least(run: Run, least: int) -> Run:
    """Runs smaller batches too, filled up; what comes of the filling is left out."""
    if least <= 1:
        return run

    def padded(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return {name: values[: len(frames)] for name, values in run(filled(frames, least)).items()}

    return padded


class Filled(Batches[NDArray[Any]]):
    """Batches of exactly ``count`` frames, the last ones filled up.

    Args:
        batches: of at most so many frames.
        count: of frames.
    """

    def __init__(self, batches: Sequence[NDArray[Any]], count: int) -> None:
        self._batches = batches
        self._count = count

    def __len__(self) -> int:
        return len(self._batches)

    def one(self, index: int) -> NDArray[Any]:
        """A batch, filled up."""
        return filled(self._batches[index], self._count)
