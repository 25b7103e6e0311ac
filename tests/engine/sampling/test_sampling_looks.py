# SPDX-License-Identifier: Apache-2.0
"""The small pictures of kept frames: as far from a new one as the evaluation's own measure says."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.images import LOOK_SIDE
from edged.engine.sampling.kept_looks import FARTHEST, KeptLooks


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2**32 - 1)), max_size=40))
def test_difference_is_that_of_the_nearest_kept(steps: list[tuple[bool, int]]) -> None:
    looks = KeptLooks(8)
    model: dict[int, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
    for name, (remove, seed) in enumerate(steps):
        if model and (remove or len(model) == 8):
            gone = sorted(model)[seed % len(model)]
            looks.remove(gone)
            del model[gone]
        look = np.random.RandomState(seed).randint(0, 256, (LOOK_SIDE, LOOK_SIDE)).astype(np.uint8)
        flat = look.astype(int)
        expected = min((int(np.abs(flat - other).max()) for other in model.values()), default=FARTHEST)
        assert looks.difference(look) == expected
        looks.add(name, look)
        model[name] = look
        assert looks.difference(look) == 0
