# SPDX-License-Identifier: Apache-2.0
"""The small grey pictures of the frames that are kept: whether another one looks like one of them."""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np
from numpy.typing import NDArray

from edged.engine.images import LOOK_SIDE, Pixels

FARTHEST = 255


class KeptLooks:
    """Looks by name, of which some go while others come. Frames differ as `edged.engine.evaluate.alike` measures it.

    Args:
        capacity: most looks at a time.
    """

    def __init__(self, capacity: int) -> None:
        self._looks: NDArray[np.uint8] = np.zeros((capacity, LOOK_SIDE**2), np.uint8)
        self._rows: dict[Hashable, int] = {}
        self._free = list(range(capacity - 1, -1, -1))

    def add(self, name: Hashable, look: Pixels) -> None:
        """Keep one; there must be room."""
        row = self._free.pop()
        self._looks[row] = look.reshape(-1)
        self._rows[name] = row

    def remove(self, name: Hashable) -> None:
        """Forget one."""
        self._free.append(self._rows.pop(name))

    def difference(self, look: Pixels) -> int:
        """How much a picture differs from the most similar one kept: grey levels, where it differs most; 0 to 255.

        `FARTHEST` where none is kept.
        """
        if not self._rows:
            return FARTHEST
        known = self._looks[list(self._rows.values())]
        flat = look.reshape(-1)
        # Larger less smaller: no sign, so bytes do, at a fraction of the time.
        return int((np.maximum(known, flat) - np.minimum(known, flat)).max(axis=1).min())
