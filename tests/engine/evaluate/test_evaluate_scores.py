# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import numpy as np
import pytest

from edged.engine.evaluate.classification import among
from edged.engine.evaluate.findings import Classified, Sampler
from edged.engine.evaluate.scores import Norms, Overlaps, Perfect, Ratio, resamples, spread
from edged.engine.evaluate.segmentation import Counts, at_source
from edged.engine.evaluate.tensors import norms


def row(*weights: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    return np.array([weights])


def test_top_1_and_top_5_by_hand() -> None:
    found = [Classified((2, 0, 1), (0.9, 0.05, 0.05)), Classified((0, 1), (0.6, 0.4)), Classified((), ())]
    top = among(found, [2, 1, 1], 1)
    assert top.points(row(1, 1, 1)) == pytest.approx(100 / 3)
    assert top.points(row(1, 0, 1)) == pytest.approx(50)
    assert top.by_class() == {1: 0, 2: 100}
    assert among(found, [2, 1, 1], 5).points(row(1, 1, 1)) == pytest.approx(200 / 3)


def test_a_ratio_of_nothing_is_perfect() -> None:
    nothing = Ratio(np.zeros(2), np.zeros(2), {4: (0.0, 0.0)})
    assert nothing.points(row(1, 1)) == 100
    assert nothing.by_class() == {}


def test_miou_by_hand() -> None:
    counts = Counts(2, 3)
    truth = np.array([[0, 0, 1, 1], [0, 0, 255, 255]], np.uint8)
    found = np.array([[0, 1, 1, 1], [0, 2, 0, 1]], np.uint8)
    counts.add(0, truth, found)
    counts.add(1, np.full((1, 2), 2, np.uint8), np.array([[2, 0]], np.uint8))
    score = counts.score()
    # First image: class 0 is 2 of 4, class 1 is 2 of 3; 2 is nowhere in the truth. What 255 hides is left out.
    assert score.points(row(1, 0)) == pytest.approx(100 * (2 / 4 + 2 / 3) / 2)
    # Both: class 0 is 2 of 5, class 2 is 1 of 3.
    assert score.points(row(1, 1)) == pytest.approx(100 * (2 / 5 + 2 / 3 + 1 / 3) / 3)
    assert score.by_class() == {0: pytest.approx(40), 1: pytest.approx(200 / 3), 2: pytest.approx(100 / 3)}
    assert np.isnan(Counts(1, 3).score().points(row(1))[0])


def test_a_class_beyond_the_models_is_wrong_but_no_error() -> None:
    counts = Counts(1, 2)
    counts.add(0, np.array([[0, 1]], np.uint8), np.array([[0, 200]], np.uint8))
    assert counts.score().by_class() == {0: 100, 1: 0}


def test_relative_norms_by_hand() -> None:
    pairs = [norms(np.array([3.0, 4.0]), np.array([3.0, 3.0])), norms(np.array([0.0, 0.0]), np.array([0.0, 0.0]))]
    error, size = (np.array([part]) for part in zip(*pairs, strict=True))
    score = Norms(error, size)
    assert score.by_class() == {0: pytest.approx(80), 1: 100}
    assert score.points(row(1)) == pytest.approx(90)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_no_numbers_are_all_wrong(value: float) -> None:
    error, size = norms(np.array([3.0, 4.0]), np.array([value, 4.0]))
    assert Norms(np.array([[error]]), np.array([[size]])).points(row(1)) == 0
    assert norms(np.array([value, 4.0]), np.array([value, 4.0])) == (0, 16)


def test_perfect_agreement() -> None:
    score = Perfect(Overlaps(np.zeros((1, 2)), np.array([[1.0, 0.0]]), np.zeros((1, 2))))
    assert score.points(np.array([[1.0], [0.0]])).tolist()[0] == 100
    assert np.isnan(score.points(row(0))[0])
    assert score.by_class() == {0: 100}


def test_the_bootstrap_knows_the_error_of_a_mean() -> None:
    right = (np.random.default_rng(7).uniform(size=400) < 0.8).astype(np.float64)
    found = spread(Ratio(right, np.ones(400), {}).points(resamples(400, 400, 0)))
    assert found == pytest.approx(100 * float(right.std()) / 20, rel=0.15)
    assert spread(np.array([np.nan, 1.0])) is None


def test_masks_at_source_size() -> None:
    mask = np.array([[1, 2], [3, 4]], np.uint8)
    large, seen = at_source(mask, (0, 0, 4, 4), (4, 4))
    np.testing.assert_array_equal(large, np.repeat(np.repeat(mask, 2, 0), 2, 1))
    assert seen.all()
    # Center-crop: only the middle is covered, and a cell beyond it.
    cut, seen = at_source(mask, (4, 0, 8, 4), (4, 12))
    assert seen[0].tolist() == [False, False] + [True] * 8 + [False, False]
    np.testing.assert_array_equal(cut[0, 4:8], [1, 1, 2, 2])


def test_samples_are_always_the_same_places() -> None:
    sampler = Sampler(10)
    values = np.arange(1000).reshape(10, 100)
    first, second = sampler.take(values), sampler.take(values + 1000)
    assert len(first) == 10
    np.testing.assert_array_equal(second - first, np.full(10, 1000))
    assert sampler.take(np.arange(4)).tolist() == [0, 1, 2, 3]
