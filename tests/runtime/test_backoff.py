# SPDX-License-Identifier: Apache-2.0
"""When a child is started again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.runtime.backoff import SOON_S, Backoff


def test_the_first_restart_is_immediate() -> None:
    assert Backoff().died(1000.0) == 0.0


def test_deaths_in_quick_succession_wait_twice_as_long_each_time() -> None:
    backoff = Backoff()
    now, delays = 0.0, []
    for _ in range(9):
        delay = backoff.died(now)
        delays.append(delay)
        now += delay + 0.1
    assert delays == [0.0, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0]


def test_a_child_that_lived_long_enough_starts_afresh() -> None:
    backoff = Backoff()
    backoff.died(0.0)
    assert backoff.died(1.0) == 0.5
    assert backoff.died(1.5 + SOON_S + 0.1) == 0.0
    assert backoff.died(1.5 + SOON_S + 0.2) == 0.5


def test_the_wait_itself_does_not_count_as_life() -> None:
    backoff = Backoff()
    now = 0.0
    for _ in range(8):
        now += backoff.died(now) + 1.0
    # It waited 30 s and died at once: that is still the same streak.
    assert backoff.died(now) == 30.0


def test_recent_deaths_are_those_of_the_last_minute() -> None:
    backoff = Backoff()
    for now in (0.0, 30.0, 59.0, 61.0):
        backoff.died(now)
    assert [backoff.recent(now) for now in (61.0, 90.5, 119.5, 122.0)] == [3, 2, 1, 0]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0, 100), min_size=1, max_size=100))
def test_it_never_waits_longer_than_half_a_minute_and_remembers_a_bounded_number(lives: list[float]) -> None:
    backoff = Backoff()
    now, before = 0.0, 0.0
    for number, life in enumerate(lives):
        now += before + life
        delay = backoff.died(now)
        assert 0.0 <= delay <= 30.0
        if number and life < SOON_S:
            assert delay >= min(30.0, 2 * before) and delay > 0.0  # noqa: PT018
        if life > SOON_S:
            assert delay == 0.0
        before = delay
    assert backoff.recent(now) <= len(backoff.deaths) <= 64
