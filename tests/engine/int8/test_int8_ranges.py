# SPDX-License-Identifier: Apache-2.0
"""Histograms against numpy on all data at once, and thresholds against what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnxruntime.quantization.calibrate import HistogramCollector

from edged.engine.int8.histogram import BINS, Histogram
from edged.engine.int8.ranges import METHODS, STEPS, Method, entropy, mse, percentile, threshold

portions = st.lists(
    st.tuples(st.integers(0, 2**16), st.integers(1, 300), st.floats(-6, 6), st.sampled_from(["normal", "uniform"])),
    min_size=1,
    max_size=6,
)


def values_of(portion: tuple[int, int, float, str]) -> NDArray[np.float32]:
    seed, count, size, kind = portion
    rng = np.random.default_rng(seed)
    values = rng.normal(size=count) if kind == "normal" else rng.uniform(-1, 1, count)
    return (values * 10**size).astype(np.float32)


def histogram_of(*arrays: NDArray[np.float32]) -> Histogram:
    histogram = Histogram()
    for values in arrays:
        histogram.add(values)
    return histogram


@settings(deadline=None, max_examples=60)
@given(portions)
def test_portions_add_up_to_one_histogram_over_all_data(given_portions: list[tuple[int, int, float, str]]) -> None:
    arrays = [values_of(portion) for portion in given_portions]
    histogram = histogram_of(*arrays)
    everything = np.abs(np.concatenate(arrays))
    assert histogram.exponent is not None
    assert histogram.largest == everything.max()
    assert everything.max() < 2.0**histogram.exponent <= 2 * everything.max()
    expected, _ = np.histogram(everything.astype(np.float64), BINS, (0, 2.0**histogram.exponent))
    np.testing.assert_array_equal(histogram.counts, expected)
    other = histogram_of(*reversed(arrays))
    np.testing.assert_array_equal(histogram.counts, other.counts)


def test_zeros_nothing_and_what_is_no_number() -> None:
    histogram = histogram_of(np.zeros(5, np.float32), np.zeros(0, np.float32))
    assert (histogram.total, histogram.exponent, histogram.largest) == (5, None, 0.0)
    assert [threshold(histogram, method) for method in METHODS] == [0.0] * len(METHODS)
    histogram.add(np.array([np.nan, np.inf, 1.0, -3.0], np.float32))
    assert (histogram.total, histogram.broken, histogram.largest) == (7, 2, 3.0)


def test_clipped_counts_what_is_larger() -> None:
    histogram = histogram_of(np.arange(1000, dtype=np.float32))
    assert histogram.clipped(1000.0) == 0.0
    assert histogram.clipped(900.0) == pytest.approx(0.1, abs=0.001)


@settings(deadline=None, max_examples=40)
@given(portions, st.sampled_from([99.0, 99.9, 99.99]))
def test_percentile_is_numpys_to_a_bin(given_portions: list[tuple[int, int, float, str]], percent: float) -> None:
    arrays = [values_of(portion) for portion in given_portions]
    histogram = histogram_of(*arrays)
    sizes = np.abs(np.concatenate(arrays))
    expected = float(np.percentile(sizes, percent, method="inverted_cdf"))
    assert abs(percentile(histogram, percent) - expected) <= histogram.width * 1.0001


@settings(deadline=None, max_examples=30)
@given(portions)
def test_methods_never_go_beyond_the_largest_value(given_portions: list[tuple[int, int, float, str]]) -> None:
    histogram = histogram_of(*map(values_of, given_portions))
    for method in METHODS:
        assert 0 < threshold(histogram, method) <= histogram.largest
    assert threshold(histogram, "minmax") == histogram.largest


def test_mse_is_the_best_of_all_thresholds_on_the_data_itself() -> None:
    values = np.random.default_rng(3).laplace(size=20000).astype(np.float32)

    def error(reach: float) -> float:
        scale = reach / STEPS
        return float(np.mean((values - np.clip(np.rint(values / scale), -STEPS, STEPS) * scale) ** 2))

    found = mse(histogram_of(values))
    best = min(error(float(reach)) for reach in np.linspace(0.5, np.abs(values).max(), 400))
    assert error(found) <= best * 1.02
    assert found < np.abs(values).max()


def test_entropy_agrees_with_onnxruntimes() -> None:
    rng = np.random.default_rng(5)
    values = (np.abs(rng.normal(size=200_000)) + 0.01).astype(np.float32)
    values[:20] *= 20
    collector = HistogramCollector(
        "entropy", symmetric=True, num_bins=BINS // 2, num_quantized_bins=128, percentile=99.9, scenario="same"
    )
    collector.collect({"x": [np.concatenate([values, -values])]})
    low, high = collector.compute_collection_result()["x"][:2]
    reference = max(-float(low), float(high))
    found = entropy(histogram_of(values))
    # Its levels are half as many on each side, so it clips a little later or earlier.
    assert math.isclose(found, reference, rel_tol=0.35)
    assert found < 0.5 * values.max()


def test_entropy_keeps_a_uniform_range_whole() -> None:
    values = np.random.default_rng(0).uniform(-1, 1, 100_000).astype(np.float32)
    assert entropy(histogram_of(values)) == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_outliers_move_only_the_methods_that_promise_it(method: Method) -> None:
    values = np.random.default_rng(1).normal(size=1_000_000).astype(np.float32)
    usual = threshold(histogram_of(values), method)
    values[0] = 40.0
    with_outlier = threshold(histogram_of(values), method)
    if method == "minmax":
        assert with_outlier == 40.0
    else:
        assert with_outlier < 3 * usual
