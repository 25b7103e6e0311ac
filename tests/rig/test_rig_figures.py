# SPDX-License-Identifier: Apache-2.0
"""Distributions, spreads, whether a difference is one; and the rounds that they come from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.rig.figures import distribution, outcome, ratios, spread
from edged.rig.rounds import Plan, Stop, Turn, alternate

POSITIVE = st.floats(1e-3, 1e6)


@settings(deadline=None, max_examples=60)
@given(st.lists(POSITIVE, min_size=1, max_size=50))
def test_a_distribution_is_ordered_and_holds_its_values(values: list[float]) -> None:
    found = distribution(values)
    assert found.count == len(values)
    assert found.min == min(values)
    assert found.max == max(values)
    assert found.min <= found.p50 <= found.p90 <= found.p99 <= found.max
    assert found.p50 == pytest.approx(np.median(values))
    assert found.mean == pytest.approx(sum(values) / len(values))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1.1] * 12, "higher"),
        ([0.9] * 12, "lower"),
        ([1.1] * 11 + [0.5], "higher"),
        ([1.1] * 9 + [0.9] * 3, "none"),
        ([1.0] * 12, "none"),
        ([1.1] * 8, "higher"),
        ([1.1] * 7, "unknown"),
        ([2.0], "unknown"),
    ],
)
def test_a_difference_counts_where_the_rounds_agree(values: list[float], expected: str) -> None:
    assert outcome(spread(values)) == expected


@settings(deadline=None, max_examples=60)
@given(st.lists(POSITIVE, min_size=8, max_size=20))
def test_who_wins_does_not_depend_on_who_is_first(values: list[float]) -> None:
    opposite = {"higher": "lower", "lower": "higher"}
    turned = outcome(spread([1 / value for value in values]))
    assert turned == opposite.get(outcome(spread(values)), outcome(spread(values)))


def test_equal_contestants_are_seldom_told_apart() -> None:
    chance = random.Random(1)
    decided = sum(outcome(spread([chance.lognormvariate(0, 0.2) for _ in range(12)])) != "none" for _ in range(1000))
    assert decided <= 20  # 1 % is what the test promises; it has 0.6


def test_ratios_are_taken_round_by_round() -> None:
    assert ratios(spread([2.0, 9.0, 4.0]), spread([1.0, 3.0])).rounds == (2.0, 3.0)


class Noted:
    """A way that writes down its turns."""

    def __init__(self, name: str, log: list[str], batch: int = 4) -> None:
        self.batch = batch
        self._name, self._log = name, log

    def run(self, seconds: float, stop: Stop) -> Turn:
        self._log.append(f"{self._name} {seconds:g}")
        return Turn(batches=10, seconds=2.0, latencies_ms=[1.0, 3.0], stages_ms={"copy": [0.5]})


def test_rounds_alternate_after_a_warm_up() -> None:
    log: list[str] = []
    ticks: list[int] = []
    plan = Plan(2, 0.5, lambda: False, lambda: ticks.append(1))
    turns = alternate({name: Noted(name, log) for name in "abc"}, plan)
    assert log == [*(f"{name} 0.2" for name in "abc"), *(f"{name} 0.5" for name in "abccba")]
    assert {name: len(own) for name, own in turns.items()} == {"a": 2, "b": 2, "c": 2}
    assert len(ticks) == 6


@pytest.mark.parametrize(("after", "whole"), [(0, 0), (2, 0), (4, 1), (5, 1), (6, 2), (99, 3)])
def test_an_interrupted_round_is_left_out_for_all(after: int, whole: int) -> None:
    log: list[str] = []
    plan = Plan(3, 0.5, lambda: len(log) > after, lambda: None)
    turns = alternate({"a": Noted("a", log), "b": Noted("b", log)}, plan)
    assert {len(own) for own in turns.values()} == ({whole} if whole else set())
