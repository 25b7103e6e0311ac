# SPDX-License-Identifier: Apache-2.0
"""A percentile from bins is within 2 % of the one from all values."""

from __future__ import annotations

from math import inf, nan

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.monitor.ledger.bins import BINS, HIGH_MS, LOW_MS, RELATIVE_ERROR, bin_of, percentiles, value_of
from edged.monitor.ledger.sample import Latencies

IN_RANGE = st.floats(LOW_MS, HIGH_MS, exclude_max=True)


@given(IN_RANGE)
@settings(deadline=None, max_examples=300)
def test_a_value_is_reported_within_the_promised_error(value: float) -> None:
    reported = value_of(bin_of(value))
    assert abs(reported - value) <= (RELATIVE_ERROR + 1e-9) * value
    assert RELATIVE_ERROR < 0.02


@given(st.lists(IN_RANGE, min_size=1, max_size=300), st.integers(1, 100))
@settings(deadline=None, max_examples=200)
def test_percentiles_are_those_of_all_values(values: list[float], percent: int) -> None:
    counts = [0] * BINS
    for value in values:
        counts[bin_of(value)] += 1
    exact = sorted(values)[-(-len(values) * percent // 100) - 1]
    (reported,) = percentiles(counts, (percent,))
    assert abs(reported - exact) <= 0.02 * exact


def test_what_lies_outside_is_counted_at_the_ends() -> None:
    assert [bin_of(value) for value in (nan, -1.0, 0.0, 0.0099)] == [0] * 4
    assert [bin_of(value) for value in (HIGH_MS, 1e300, inf)] == [BINS - 1] * 3
    assert value_of(0) == LOW_MS
    assert value_of(BINS - 1) == HIGH_MS
    assert bin_of(LOW_MS) == 1


def test_latencies_are_whole_microseconds() -> None:
    latencies = Latencies.of([1.0, 2.5, -3.0])
    assert (latencies.frames, latencies.total_us, latencies.total_us2) == (3, 3500, 1_000_000 + 6_250_000)
    assert sum(latencies.bins.values()) == 3
