# SPDX-License-Identifier: Apache-2.0
"""What a batch is expected to cost, and when the device is expected to be free."""

from __future__ import annotations

from collections import deque

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.infer.cost import BatchCost, Occupancy

MS = 1_000_000


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


def test_sizes_that_never_ran_lie_between_their_neighbours_or_are_scaled_up_but_never_down() -> None:
    cost = BatchCost()
    cost.observe(2, 100)
    assert [cost.estimate(count) for count in (1, 2, 3, 8)] == [100, 100, 150, 400]
    cost.observe(8, 310)
    assert [cost.estimate(count) for count in (1, 4, 6, 8, 16)] == [100, 170, 240, 310, 620]
    cost.observe(8, 610)
    assert cost.estimate(4) > 170


@given(st.lists(st.tuples(st.integers(1, 16), st.integers(1, 10**9)), min_size=1), st.integers(1, 32))
def test_an_estimate_lies_within_what_was_seen_scaled(seen: list[tuple[int, int]], count: int) -> None:
    cost = BatchCost()
    for size, took in seen:
        cost.observe(size, took)
    times = [took for _, took in seen]
    assert min(times) - 1 <= cost.estimate(count) <= max(times) * max(count, 1)


def test_a_batch_that_hung_is_forgotten_when_it_leaves_nothing_to_run() -> None:
    limit, true_cost = 100 * MS, 5 * MS
    cost = BatchCost()
    cost.observe(1, true_cost)
    cost.observe(1, 8 * 3600 * 10**9)  # suspended over night
    doubts = 0
    while cost.estimate(1) > limit:
        cost.doubt()
        doubts += 1
    assert 0 < doubts < 20
    cost.observe(1, true_cost)
    assert cost.estimate(1) == true_cost
    assert cost.deviation_ns == 0


def test_a_device_that_is_idle_is_free_at_once() -> None:
    assert Occupancy(1).free_ns() == 0
    everything = Occupancy(None)
    for _ in range(3):
        everything.closed(1, MS)
    assert everything.free_ns() == 0


def test_a_batch_that_waited_for_another_is_not_charged_with_the_wait() -> None:
    device = Occupancy(1)
    device.closed(2, 0)
    device.closed(2, MS)
    device.delivered(10 * MS)
    assert device.cost.estimate(2) == 10 * MS
    assert device.free_ns() == 20 * MS
    device.delivered(20 * MS)
    assert device.cost.estimate(2) == 10 * MS
    assert device.free_ns() == 0


def test_a_batch_has_to_close_the_earlier_the_less_its_time_is_known_and_the_more_is_copied() -> None:
    device = Occupancy(1)
    steady = device.lead_ns
    assert steady > 0
    for took in (10, 14, 10, 14):
        device.closed(1, 0)
        device.delivered(took * MS)
    unsteady = device.lead_ns
    assert steady + MS < unsteady < steady + 10 * MS
    device.closed(1, 0)
    device.delivered(12 * MS, copy_ns=10 * MS)
    assert device.lead_ns > unsteady + MS


def test_where_batches_run_side_by_side_the_next_one_begins_when_the_first_of_them_ends() -> None:
    device = Occupancy(2)
    for size, took in ((1, 10), (4, 40)):
        device.cost.observe(size, took * MS)
    device.closed(4, 0)
    assert device.free_ns() == 0
    device.closed(1, 5 * MS)
    assert device.free_ns() == 15 * MS
    device.closed(1, 6 * MS)  # begins at 15
    assert device.free_ns() == 25 * MS


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), min_size=1, max_size=20))
def test_it_foretells_when_a_device_of_known_cost_is_free(steps: list[tuple[int, int]]) -> None:
    """Batches of n take 5 + n ms, one after the other."""
    device = Occupancy(1)
    for size in range(1, 5):
        device.cost.observe(size, (5 + size) * MS)
    now = free = 0
    done: deque[int] = deque()
    for pause, size in steps:
        now += pause * MS
        while done and done[0] <= now:
            device.delivered(done.popleft())
        if len(done) < 3:
            assert max(device.free_ns(), now) == max(free, now)
            free = max(now, free) + (5 + size) * MS
            done.append(free)
            device.closed(size, now)
    for end in done:
        device.delivered(end)
    assert device.free_ns() == 0
    assert [device.cost.estimate(size) for size in range(1, 5)] == [6 * MS, 7 * MS, 8 * MS, 9 * MS]
