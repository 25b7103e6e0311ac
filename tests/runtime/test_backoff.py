# SPDX-License-Identifier: Apache-2.0
"""When a child is started again."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.runtime.backoff import SOON_S, Backoff, Retry


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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(0.0, 10.0), max_size=40), st.floats(0.5, 60.0), st.floats(0.0, 1.0))
def test_tries_come_ever_later_up_to_a_bound_and_a_quarter_sooner_by_chance(
    lives: list[float], longest_s: float, chance: float
) -> None:
    retry, before = Retry(longest_s, lambda: chance), 0.0
    for ran_s in lives:
        wait_s = retry.after(ran_s)
        assert 0.0 <= wait_s <= longest_s
        if ran_s >= 2.0:
            assert wait_s == 0.0
        elif before:
            assert wait_s >= min(longest_s * (1 - 0.25 * chance), 1.99 * before)
        before = wait_s


def test_what_must_not_be_tried_soon_is_never_tried_at_once() -> None:
    retry = Retry(600.0, lambda: 0.0, first_s=60.0, at_once=False)
    assert [retry.after(0.0) for _ in range(6)] == [60, 120, 240, 480, 600, 600]
    assert retry.after(100.0) == 60.0
