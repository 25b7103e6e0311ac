# SPDX-License-Identifier: Apache-2.0
"""What a batch is expected to cost."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from edged.stages.infer.cost import BatchCost


def test_nothing_is_expected_before_anything_ran() -> None:
    assert BatchCost().estimate(4) == 0


def test_the_first_batch_is_believed_and_later_ones_move_it_slowly() -> None:
    cost = BatchCost()
    cost.observe(1, 100)
    assert cost.estimate(1) == 100
    cost.observe(1, 200)
    assert cost.estimate(1) == 120
    for _ in range(60):
        cost.observe(1, 200)
    assert 199 <= cost.estimate(1) <= 200


def test_sizes_that_never_ran_are_scaled_up_but_never_down() -> None:
    cost = BatchCost()
    cost.observe(2, 100)
    assert [cost.estimate(count) for count in (1, 2, 3, 8)] == [100, 100, 150, 400]
    cost.observe(8, 300)
    assert [cost.estimate(count) for count in (4, 6, 8, 16)] == [200, 300, 300, 600]


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 10**9)), min_size=1), st.integers(1, 32))
def test_an_estimate_lies_within_what_was_seen_scaled(seen: list[tuple[int, int]], count: int) -> None:
    cost = BatchCost()
    for size, took in seen:
        cost.observe(size, took)
    times = [took for _, took in seen]
    assert min(times) - 1 <= cost.estimate(count) <= max(times) * max(count, 1)
