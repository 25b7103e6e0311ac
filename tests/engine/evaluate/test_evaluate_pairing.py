# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.evaluation import detected

from edged.engine.evaluate.findings import Detected
from edged.engine.evaluate.pairing import agreement, ious, pair

STRONG = 0.4

boxes = st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 8), st.integers(1, 8))
scenes = st.lists(st.tuples(boxes, st.integers(4, 20), st.integers(0, 1)), max_size=8).map(
    lambda found: detected(*((x, y, x + w, y + h, score / 20, kind) for (x, y, w, h), score, kind in found))
)


def right_and_total(first: Detected, second: Detected, iou: float = 0.5) -> tuple[int, int]:
    agreed = agreement(first, second, pair(first, second, STRONG, iou), STRONG)
    return int(agreed.right.sum()), len(agreed.right)


@settings(deadline=None, max_examples=300)
@given(scenes, scenes, st.sampled_from([0.3, 0.5, 0.9]))
def test_exchanging_the_models_changes_nothing(first: Detected, second: Detected, iou: float) -> None:
    one, other = pair(first, second, STRONG, iou), pair(second, first, STRONG, iou)
    assert sorted(zip(one.first, one.second, strict=True)) == sorted(zip(other.second, other.first, strict=True))
    assert right_and_total(first, second, iou) == right_and_total(second, first, iou)


@settings(deadline=None, max_examples=100)
@given(scenes)
def test_a_model_agrees_with_itself(found: Detected) -> None:
    strong = int((found.scores >= STRONG).sum())
    assert right_and_total(found, found, 0.99) == (2 * strong, 2 * strong)


@settings(deadline=None, max_examples=200)
@given(scenes, scenes)
def test_pairs_are_what_they_should_be(first: Detected, second: Detected) -> None:
    paired = pair(first, second, STRONG, 0.5)
    assert len(set(paired.first.tolist())) == len(paired.first)
    assert len(set(paired.second.tolist())) == len(paired.second)
    overlaps = ious(first.boxes, second.boxes)
    for row, column, iou in zip(paired.first, paired.second, paired.ious, strict=True):
        assert overlaps[row, column] == iou >= 0.5
        assert first.classes[row] == second.classes[column]
        assert max(first.scores[row], second.scores[column]) >= STRONG
    # Nothing that fits is left over on both sides.
    left = [row for row in range(len(first.scores)) if row not in paired.first]
    right = [column for column in range(len(second.scores)) if column not in paired.second]
    for row in left:
        for column in right:
            strong = max(first.scores[row], second.scores[column]) >= STRONG
            assert not (strong and first.classes[row] == second.classes[column] and overlaps[row, column] >= 0.5)


def test_a_score_that_crosses_the_threshold_is_no_disagreement() -> None:
    above, below = detected((0, 0, 10, 10, 0.41, 0)), detected((0, 0, 10, 10, 0.39, 0))
    assert right_and_total(above, below) == (1, 1)
    assert right_and_total(above, detected()) == (0, 1)
    assert right_and_total(below, detected()) == (0, 0)


def test_the_strong_partner_goes_before_the_nearer_one() -> None:
    ours = detected((0, 0, 10, 10, 0.9, 0))
    theirs = detected((0, 0, 10, 8, 0.8, 0), (0, 0, 10, 10, 0.3, 0))
    assert pair(ours, theirs, STRONG, 0.5).second.tolist() == [0]


def test_by_hand() -> None:
    ours = detected((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 0), (40, 0, 50, 10, 0.7, 1))
    theirs = detected((0, 0, 10, 9, 0.9, 0), (20, 0, 30, 4, 0.8, 0), (40, 0, 50, 10, 0.7, 0))
    # Precision 1/3, recall 1/3: F-measure 1/3.
    assert right_and_total(ours, theirs) == (2, 6)
    assert right_and_total(ours, theirs, 0.95) == (0, 6)


def test_ious() -> None:
    one = np.array([[0, 0, 10, 10], [5, 5, 5, 9]], np.float64)
    other = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]], np.float64)
    assert ious(one, other) == pytest.approx(np.array([[1 / 3, 0, 1], [0, 0, 0]]))
    assert ious(one[:0], other).shape == (0, 3)
