# SPDX-License-Identifier: Apache-2.0
"""Setting frames aside for the verify process: one in N, if the last one is no longer needed. Never waits."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edged.records import FrameRecord
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays


class Sampler:
    """Copies one frame in N of a source.

    Args:
        sample: where to.
        every: N.
    """

    def __init__(self, sample: Sample, every: int) -> None:
        self._sample = sample
        self._arrays = SampleArrays(sample)
        self._every = every
        self._left = 1
        self._claimed = False
        sample.recover_claim()

    def look(self, pixels: NDArray[np.uint8], frame: FrameRecord) -> None:
        """Copy a frame that is about to be handed over, if it is its turn and there is room.

        Args:
            pixels: uint8 ``height×width×3``, as the model takes them.
            frame: what is known of it, but for its number.
        """
        self._left -= 1
        if self._left:
            return
        self._left = self._every
        if self._sample.claim():
            self._claimed = True
            self._arrays.frame(*pixels.shape[:2])[0] = pixels
            self._sample.describe(frame)

    def seal(self, frame_id: int) -> None:
        """Say which number the frame got that was looked at last."""
        if self._claimed:
            self._claimed = False
            self._sample.seal(frame_id)
