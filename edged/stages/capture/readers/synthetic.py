# SPDX-License-Identifier: Apache-2.0
"""The synthetic source ``synthetic://shapes``."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.stages.capture.readers.base import Picture, arrival
from edged.stages.capture.shapes import ShapesScene
from edged.stages.capture.synthetic_options import SyntheticOptions


class ShapesReader:
    """Frames of a `ShapesScene`, one after the other: the n-th picture read is the scene's frame n.

    That holds also where frames come late, so that ground truth is found by counting. With a cache of c frames it is
    the scene's frame n modulo c.

    Args:
        options: of the source.
    """

    decode = "software"

    def __init__(self, options: SyntheticOptions) -> None:
        self._scene = ShapesScene(options.seed, options.width, options.height, options.fps)
        self._image = np.empty((options.height, options.width, 3), np.uint8)
        self._frames = options.frames
        self._cache = options.cache
        self._drawn: list[NDArray[np.uint8]] = []
        self._index = 0
        self.fps: float | None = options.fps

    def read(self) -> Picture | None:
        """Draw the next frame; None behind the last."""
        if self._frames and self._index == self._frames:
            return None
        captured_ns, captured_at_ns = arrival()
        image = self._kept(self._index % self._cache) if self._cache else self._scene.render(self._index, self._image)
        self._index += 1
        return Picture(image, captured_ns, captured_at_ns)

    def rewind(self) -> None:
        """Start again with the first frame."""
        self._index = 0

    def close(self) -> None:
        """Nothing is open."""

    def _kept(self, index: int) -> NDArray[np.uint8]:
        """A frame of the cache. Frames come in order, so the one that is missing is always the next."""
        if index == len(self._drawn):
            self._drawn.append(self._scene.render(index))
        return self._drawn[index]
