# SPDX-License-Identifier: Apache-2.0
"""Whether waiting for more frames pays, against ages counted frame by frame."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.collate.company import worth_waiting_ns


def ages(have: int, arrivals: list[int], waited_for: int, cost: list[int]) -> int:
    """Sum of the ages of all frames: those that wait since 0, those that come until the batch closes, and the rest of
    ``arrivals``, which go together once the device is free."""
    closes = arrivals[waited_for - 1] if waited_for else 0
    done = closes + cost[have + waited_for]
    total = have * done + sum(done - each for each in arrivals[:waited_for])
    late = arrivals[waited_for:]
    if late:
        total += sum(max(done, late[-1]) + cost[len(late)] - each for each in late)
    return total


@settings(deadline=None)
@given(
    have=st.integers(1, 5),
    arrivals=st.lists(st.integers(1, 200), min_size=1, max_size=5).map(sorted),
    fixed=st.integers(0, 300),
    each=st.integers(1, 60),
)
def test_it_waits_for_one_newcomer_exactly_where_the_ages_come_out_smaller(
    have: int, arrivals: list[int], fixed: int, each: int
) -> None:
    cost = [fixed + each * count for count in range(20)]
    wait = worth_waiting_ns(have, 8, arrivals[:1], cost.__getitem__)
    assert bool(wait) == (ages(have, arrivals[:1], 1, cost) < ages(have, arrivals[:1], 0, cost))
    assert bool(wait) == ((have + 1) * arrivals[0] < fixed - each * have)  # the closed form for c(n) = a + b n


@settings(deadline=None)
@given(
    have=st.integers(1, 5),
    room=st.integers(0, 6),
    arrivals=st.lists(st.integers(1, 200), max_size=6).map(sorted),
    cost=st.lists(st.integers(1, 300), min_size=12, max_size=12).map(sorted),
)
def test_what_it_waits_for_is_a_newcomer_that_saves_the_most(
    have: int, room: int, arrivals: list[int], cost: list[int]
) -> None:
    wait = worth_waiting_ns(have, room, arrivals, lambda count: cost[count])
    saved = [
        ages(have, arrivals[:more], 0, cost) - ages(have, arrivals[:more], more, cost)
        for more in range(1, min(room, len(arrivals)) + 1)
        if arrivals[more - 1] < cost[have]
    ]
    if wait:
        assert wait in arrivals[:room]
        assert wait < cost[have]
        assert max(saved) > 0
        assert wait == arrivals[saved.index(max(saved))]
    else:
        assert max(saved, default=0) <= 0
