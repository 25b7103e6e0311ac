# SPDX-License-Identifier: Apache-2.0
"""How much an image counts, by its folder."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.calibration.weights import MOST, image_weights


def test_folders_count_the_same() -> None:
    assert image_weights([500]) == (1.0,)
    assert image_weights([100, 100]) == (1.0, 1.0)
    normal, rare = image_weights([900, 100])
    assert (normal * 900, rare * 100) == pytest.approx((500, 500))
    # total / folders / images of the folder
    assert image_weights([60, 30, 10]) == pytest.approx((100 / 3 / 60, 100 / 3 / 30, 100 / 3 / 10))
    assert image_weights([]) == ()


def test_a_handful_of_images_does_not_decide() -> None:
    normal, rare = image_weights([1000, 2])
    assert rare / normal == pytest.approx(MOST)
    assert rare * 2 / 1002 == pytest.approx(32 / 1032)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 5_000), min_size=1, max_size=6), st.floats(1, 100))
def test_weights_keep_the_total_and_the_cap(sizes: list[int], most: float) -> None:
    weights = image_weights(sizes, most)
    assert sum(weight * size for weight, size in zip(weights, sizes, strict=True)) == pytest.approx(sum(sizes))
    assert max(weights) <= most * min(weights) * (1 + 1e-9)
    # A larger folder never has the heavier images, nor counts for less as a whole.
    ordered = sorted(zip(sizes, weights, strict=True))
    for (small, light), (large, heavy) in itertools.pairwise(ordered):
        assert light >= heavy * (1 - 1e-9)
        assert small * light <= large * heavy * (1 + 1e-9)
