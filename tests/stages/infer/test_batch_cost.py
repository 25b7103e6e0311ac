# SPDX-License-Identifier: Apache-2.0
"""What a batch is expected to cost."""

from __future__ import annotations

from edged.stages.infer.cost import BatchCost


def test_nothing_is_known_at_first() -> None:
    assert BatchCost().estimate(4) == 0


def test_it_follows_what_was_measured_and_scales_sizes_that_never_ran() -> None:
    cost = BatchCost()
    cost.observe(2, 1000)
    assert cost.estimate(2) == 1000
    assert cost.estimate(6) == 3000
    assert cost.estimate(1) == 1000
    for _ in range(50):
        cost.observe(2, 3000)
    assert 2990 < cost.estimate(2) <= 3000


def test_a_batch_that_hung_is_forgotten_when_it_leaves_nothing_to_run() -> None:
    limit, true_cost = 100_000_000, 5_000_000
    cost = BatchCost()
    cost.observe(1, true_cost)
    cost.observe(1, 8 * 3600 * 10**9)  # suspended over night
    doubts = 0
    while cost.estimate(1) > limit:
        cost.doubt()
        doubts += 1
    assert doubts < 20
    for _ in range(50):
        cost.observe(1, true_cost)
    assert abs(cost.estimate(1) - true_cost) < 0.01 * true_cost
