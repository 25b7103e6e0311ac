# SPDX-License-Identifier: Apache-2.0
"""How far two results agree: perfect is 100, neither side is preferred, and the figures are those of the formulas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged import agreement
from edged.errors import InternalError

_SIDES = st.integers(0, 12)


@st.composite
def _box(draw: st.DrawFn) -> list[float]:
    x, y = draw(_SIDES), draw(_SIDES)
    score = draw(st.sampled_from([0.25, 0.5, 0.75]))
    return [x, y, x + draw(st.integers(1, 6)), y + draw(st.integers(1, 6)), score, draw(st.integers(0, 1))]


def _rows(boxes: list[list[float]]) -> NDArray[np.float32]:
    return np.asarray(boxes, np.float32).reshape(-1, 6)


_BOXES = st.lists(_box(), max_size=8).map(_rows)
_FEW = settings(deadline=None, max_examples=150)


@_FEW
@given(_BOXES)
def test_a_result_agrees_with_itself_in_any_order(rows: NDArray[np.float32]) -> None:
    found = agreement.detections(rows, rows[::-1])
    assert found.points == 100.0
    assert found.score_shift == (0.0 if len(rows) else None)


@_FEW
@given(_BOXES, _BOXES, st.sampled_from([0.1, 0.5, 0.9]))
def test_neither_side_nor_order_matters(ours: NDArray[np.float32], other: NDArray[np.float32], iou: float) -> None:
    found = agreement.detections(ours, other, iou)
    back = agreement.detections(other, ours, iou)
    shuffled = agreement.detections(ours[::-1], other[::-1], iou)
    assert 0.0 <= found.points == back.points == shuffled.points <= 100.0
    if found.score_shift is None:
        assert back.score_shift is None
    else:
        assert back.score_shift == pytest.approx(-found.score_shift)


@_FEW
@given(_BOXES, _BOXES)
def test_pairs_are_of_one_class_overlap_and_are_nobody_elses(
    first: NDArray[np.float32], second: NDArray[np.float32]
) -> None:
    pairs, ious = agreement.match(first, second)
    for (row, column), overlap in zip(pairs.tolist(), ious.tolist(), strict=True):
        assert first[row, 5] == second[column, 5]
        assert overlap >= 0.5
        assert overlap == agreement.iou(first, second)[row, column]
    assert len(set(pairs[:, 0])) == len(set(pairs[:, 1])) == len(pairs)
    # Nothing that could still be paired is left over.
    left = np.delete(first, pairs[:, 0], axis=0), np.delete(second, pairs[:, 1], axis=0)
    assert not len(agreement.match(*left).pairs)


def test_overlap_and_measure_by_hand() -> None:
    ours = _rows([[0, 0, 10, 10, 0.9, 1], [20, 0, 30, 10, 0.8, 1], [0, 0, 10, 10, 0.7, 2]])
    reference = _rows([[0, 0, 10, 8, 0.7, 1], [26, 0, 36, 10, 0.8, 1]])
    assert agreement.iou(ours, reference).tolist() == [[0.8, 0.0], [0.0, 0.25], [0.8, 0.0]]
    found = agreement.detections(ours, reference)
    assert found.points == pytest.approx(100 * 2 * 1 / 5)
    assert found.score_shift == pytest.approx(0.2)
    assert agreement.detections(ours, reference[:0]) == (0.0, None, False)
    assert agreement.detections(ours[:0], reference[:0]) == (100.0, None, True)


@pytest.mark.parametrize(
    ("ours", "reference", "points", "shift"),
    [
        ([[0.75, 3], [0.25, 1]], [[0.5, 3]], 100.0, 0.25),
        ([[0.75, 3]], [[0.75, 1], [0.2, 3]], 0.0, None),
        ([], [], 100.0, None),
        ([], [[0.5, 3]], 0.0, None),
    ],
)
def test_only_the_best_class_counts(ours: Any, reference: Any, points: float, shift: float | None) -> None:
    rows = [np.asarray(side, np.float32).reshape(-1, 2) for side in (ours, reference)]
    assert agreement.top1(*rows) == (points, shift, not ours and not reference)


def test_masks_agree_by_the_share_of_cells() -> None:
    ours = np.zeros((4, 5), np.uint8)
    reference = ours.copy()
    reference[0] = 7
    assert agreement.labels(ours, reference).points == pytest.approx(75.0)
    assert agreement.labels(ours, ours).points == 100.0
    with pytest.raises(InternalError, match="mask of shape"):
        agreement.labels(ours, reference[1:])


@pytest.mark.parametrize(
    ("ours", "reference", "error"),
    [
        ([3.0, 4.0], [3.0, 4.0], 0.0),
        ([3.0, 4.5], [3.0, 4.0], 0.1),
        ([0.0, 0.0], [0.0, 0.0], 0.0),
        ([1.0, 0.0], [0.0, 0.0], float("inf")),
        ([np.nan, 4.5], [np.nan, 4.0], 0.125),
        ([np.nan, 4.0], [1.0, 4.0], float("inf")),
        ([np.inf, 4.0], [np.inf, 4.0], 0.0),
    ],
)
def test_raw_outputs_go_by_the_relative_norm(ours: list[float], reference: list[float], error: float) -> None:
    first, second = np.asarray(ours, np.float32), np.asarray(reference, np.float32)
    assert agreement.relative_error(first, second) == pytest.approx(error)
    points = agreement.tensors({"a": first, "b": second}, {"a": second, "b": second}).points
    assert points == pytest.approx(100 * max(0.0, 1 - error))


def test_a_missing_tensor_is_an_error() -> None:
    with pytest.raises(InternalError, match="b are missing"):
        agreement.tensors({"a": np.zeros(1)}, {"a": np.zeros(1), "b": np.zeros(1)})
