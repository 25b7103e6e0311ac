# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.stages.postprocess.nms import FAR, suppress

IOU = 0.4567  # no ratio of small whole numbers: ties at the threshold would depend on rounding


def brute_force(rows: NDArray[np.float32], threshold: float) -> list[int]:
    """The definition, word by word: best first, a box stays if no kept one of its class overlaps it too much."""
    kept: list[int] = []
    for i in sorted(range(len(rows)), key=lambda i: (-float(rows[i, 4]), i)):
        if all(rows[i, 5] != rows[j, 5] or iou(rows[i], rows[j]) <= threshold for j in kept):
            kept.append(i)
    return kept


def iou(a: NDArray[np.float32], b: NDArray[np.float32]) -> float:
    ax1, ay1, ax2, ay2 = (float(v) for v in a[:4])
    bx1, by1, bx2, by2 = (float(v) for v in b[:4])
    both = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
    return both / ((ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - both)


def random_rows(seed: int, count: int, classes: int, spread: float = 300.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-spread, spread, (count, 2))
    rows = np.empty((count, 6), np.float32)
    rows[:, :2] = corners
    rows[:, 2:4] = corners + rng.uniform(20, 200, (count, 2))
    rows[:, 4] = np.sort(rng.uniform(0.01, 1, count))[::-1]
    rows[:, 5] = rng.integers(0, classes, count)
    return rows


@pytest.mark.parametrize(("count", "classes"), [(2, 1), (10, 1), (100, 3), (400, 1), (400, 80)])
@pytest.mark.parametrize("seed", range(3))
def test_same_as_the_definition(count: int, classes: int, seed: int) -> None:
    rows = random_rows(seed, count, classes)
    expected = brute_force(rows, IOU)
    assert suppress(rows, IOU).tolist() == expected
    if count >= 100 and classes < 80:
        assert len(expected) < count, "nothing overlapped: the case proves nothing"


@settings(deadline=None, max_examples=150)
@given(
    st.lists(
        st.tuples(
            st.integers(-50, 50), st.integers(-50, 50), st.integers(1, 60), st.integers(1, 60),
            st.integers(1, 20), st.integers(0, 3),
        ),
        max_size=25,
    )
)  # fmt: skip
def test_same_as_the_definition_with_ties_and_any_order(boxes: list[tuple[int, int, int, int, int, int]]) -> None:
    rows = np.array([(x, y, x + w, y + h, s / 20, c) for x, y, w, h, s, c in boxes], np.float32).reshape(-1, 6)
    assert suppress(rows, IOU).tolist() == brute_force(rows, IOU)


def test_classes_do_not_suppress_each_other_even_left_of_the_input() -> None:
    # A class offset by the largest coordinate alone would lay class 1's box at -390 onto class 0's at 10 + 1.
    rows = np.array([[10, 10, 30, 30, 0.9, 0], [-390, 10, -370, 30, 0.8, 1], [10, 10, 30, 30, 0.7, 1]], np.float32)
    rows = np.vstack([rows, [[380, 10, 399, 30, 0.6, 0]]]).astype(np.float32)
    assert suppress(rows, IOU).tolist() == [0, 1, 2, 3]


def test_one_absurd_box_does_not_disturb_the_others() -> None:
    rows = random_rows(7, 60, 5)
    expected = brute_force(rows, IOU)
    absurd = np.array([[-1e30, -1e30, 1e30, 1e30, 1.0, 79]], np.float32)
    assert suppress(np.vstack([absurd, rows]), IOU).tolist() == [0] + [i + 1 for i in expected]


def test_high_class_numbers_keep_their_precision() -> None:
    rows = random_rows(8, 60, 2)
    expected = brute_force(rows, IOU)
    rows[:, 5] += 100_000
    assert suppress(rows, IOU).tolist() == expected
    assert np.abs(rows[:, :4]).max() < FAR


@pytest.mark.parametrize("count", [0, 1])
def test_nothing_to_do(count: int) -> None:
    assert suppress(random_rows(0, count, 1), IOU).tolist() == list(range(count))


def test_a_threshold_of_one_keeps_all_but_nothing_more() -> None:
    rows = np.repeat(random_rows(1, 1, 1), 3, axis=0)
    assert suppress(rows, 0.99).tolist() == [0]
