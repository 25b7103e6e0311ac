# SPDX-License-Identifier: Apache-2.0
"""Who wins, from rates alone."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.engine.race.decide import Rates, decide, rule
from edged.engine.race.entrant import Course, Entrant, Stand, realistic_batches
from edged.engine.report.candidate import Precision
from edged.rig.figures import spread

ONE = {1: 1.0}
NOISE = (1.00, 1.03, 0.97, 1.01, 0.99, 1.02, 0.98, 1.00, 1.01, 0.99)
OTHER_NOISE = (0.98, 1.01, 0.99, 1.02, 0.97, 1.03, 1.00, 0.99, 1.02, 1.01)


def never(course: Course) -> Stand:
    raise AssertionError


def entrant(name: str, precision: Precision, loss: float | None = None, refused: str = "") -> Entrant:
    return Entrant(name, precision, "tensorrt", never, loss=loss, error=0.3, refused_because=refused)


FP32 = entrant("fp32", "fp32", 0.0)
FP16 = entrant("fp16", "fp16", 0.0)
INT8 = entrant("int8", "int8", 0.4)
ALL_INT8 = entrant("int8-all", "int8", 24.0, "it loses 24.0 points, 1 is allowed")


def at(rate: float, noise: Sequence[float] = NOISE, batch: int = 1) -> Rates:
    return {batch: spread([rate * it for it in noise])}


def test_the_fastest_wins_with_figures() -> None:
    found = decide([FP32, FP16, INT8], {"fp32": at(100), "fp16": at(200), "int8": at(300)}, ONE)
    assert (found.winner, found.ties) == ("int8", ())
    assert found.why == (
        "int8 is the fastest: 1.50× the speed of fp16 (1.50–1.50 over 10 rounds); it loses 0.4 ± 0.3 points"
    )
    assert found.speeds["fp32"].median == pytest.approx(1 / 3)
    assert found.speeds["int8"].rounds == pytest.approx([1.0] * 10)


def test_a_difference_within_the_spread_goes_to_the_higher_precision() -> None:
    found = decide([FP32, FP16, INT8], {"fp32": at(100), "fp16": at(200, OTHER_NOISE), "int8": at(203)}, ONE)
    assert (found.winner, found.ties) == ("fp16", ("int8",))
    assert "fp16 has the higher precision, and int8 is no faster beyond the spread (1.0" in found.why


def test_who_is_level_only_by_its_own_noise_wins_no_tie() -> None:
    # As on an H200 at 0.14 ms a batch: FP32 surely slower than INT8, FP16 slower than both and anywhere between.
    wild = (0.70, 1.35, 0.75, 1.30, 0.95, 0.96, 0.80, 1.20, 0.97, 0.94)
    rates = {"fp32": at(190), "fp16": at(186, wild), "int8": at(200)}
    found = decide([FP32, FP16, INT8], rates, ONE)
    assert (found.winner, found.ties) == ("int8", ())
    assert found.why.startswith("int8 is the fastest: 1.05× the speed of fp32")
    assert decide([FP16, INT8], rates, ONE).winner == "fp16", "a tie where nobody is ahead of it"


def test_a_sure_gain_that_is_too_small_goes_to_the_higher_precision() -> None:
    found = decide([FP16, INT8], {"fp16": at(200), "int8": at(203)}, ONE)
    assert found.winner == "fp16"
    assert "int8 gains less than 2%" in found.why


def test_among_the_same_precision_the_more_accurate_wins_a_tie() -> None:
    worse = entrant("worse", "int8", 0.9)
    found = decide([worse, INT8], {"int8": at(200), "worse": at(202, OTHER_NOISE)}, ONE)
    assert found.winner == "int8"
    assert "int8 loses less" in found.why


def test_one_disturbed_round_does_not_decide() -> None:
    disturbed = [*NOISE, *NOISE[:-1], 0.3]
    rates = {"fp16": at(200, [*NOISE, *NOISE]), "int8": at(300, disturbed)}
    assert decide([FP16, INT8], rates, ONE).winner == "int8"


def test_what_is_refused_cannot_win_and_is_named() -> None:
    found = decide([FP16, INT8, ALL_INT8], {"fp16": at(200), "int8": at(300), "int8-all": at(450)}, ONE)
    assert found.winner == "int8"
    assert found.why.endswith("int8-all would be 1.50× as fast, but: it loses 24.0 points, 1 is allowed")
    assert found.speeds["int8-all"].median == pytest.approx(1.5)


def test_where_all_are_refused_nobody_wins() -> None:
    found = decide([ALL_INT8], {"int8-all": at(450)}, ONE)
    assert found.winner is None
    assert "it loses 24.0 points" in found.why
    assert decide([], {}, ONE).winner is None


@pytest.mark.parametrize(
    ("rounds", "gain", "winner"), [(1, 3.0, "fp16"), (2, 3.0, "fp16"), (3, 1.2, "int8"), (3, 1.03, "fp16")]
)
def test_few_rounds_have_to_be_clearer(rounds: int, gain: float, winner: str) -> None:
    rates = {"fp16": at(200, NOISE[:rounds]), "int8": at(200 * gain, NOISE[:rounds])}
    found = decide([FP16, INT8], rates, ONE)
    assert found.winner == winner
    assert ("too few rounds" in found.why) == (rounds < 3)


def test_sizes_count_by_their_weights() -> None:
    # INT8 is half as fast at 1 and three times as fast at 8.
    rates = {"fp16": {**at(200), **at(400, batch=8)}, "int8": {**at(100), **at(1200, batch=8)}}
    assert decide([FP16, INT8], rates, {1: 1.0, 8: 0.0}).winner == "fp16"
    assert decide([FP16, INT8], rates, {1: 0.0, 8: 1.0}).winner == "int8"
    even = decide([FP16, INT8], rates, {1: 1.0, 8: 1.0})
    assert even.winner == "int8"
    assert even.speeds["fp16"].median == pytest.approx(1 / math.sqrt(1.5))
    assert decide([FP16, INT8], rates, {1: 2.0, 8: 1.0}).winner == "fp16"


@settings(deadline=None, max_examples=60)
@given(
    rates=st.lists(st.floats(50, 500), min_size=3, max_size=3),
    noise=st.lists(st.lists(st.floats(0.8, 1.2), min_size=3, max_size=3), min_size=1, max_size=14),
    drift=st.lists(st.floats(0.1, 10), min_size=14, max_size=14),
    weight=st.floats(0, 1),
)
def test_drift_that_hits_a_whole_round_changes_nothing(
    rates: list[float], noise: list[list[float]], drift: list[float], weight: float
) -> None:
    entrants, weights = [FP32, FP16, INT8], {1: 1.0, 8: weight}

    def measured(slow: Sequence[float]) -> dict[str, Rates]:
        return {
            one.name: {
                size: spread([rate * noisy[place] * slow[number] * size for number, noisy in enumerate(noise)])
                for size in weights
            }
            for place, (one, rate) in enumerate(zip(entrants, rates, strict=True))
        }

    steady, drifting = decide(entrants, measured([1.0] * 14), weights), decide(entrants, measured(drift), weights)
    assert (steady.winner, set(steady.ties)) == (drifting.winner, set(drifting.ties))
    for one in entrants:
        assert drifting.speeds[one.name].rounds == pytest.approx(steady.speeds[one.name].rounds)


@pytest.mark.parametrize(
    ("live", "lossless", "expected"),
    [
        (1, 0, {1: 1.0, 8: 0.0}),
        (3, 0, {1: 0.0, 3: 1.0, 8: 0.0}),
        (20, 0, {1: 0.0, 8: 1.0}),
        (1, 1, {1: 0.0, 8: 1.0}),
        (0, 0, {1: 1.0, 8: 1.0}),
    ],
)
def test_realistic_batches(live: int, lossless: int, expected: dict[int, float]) -> None:
    assert realistic_batches(live, lossless, 8) == expected
    assert realistic_batches(live, lossless, 1) == {1: 1.0}


def test_the_rule_is_told() -> None:
    assert rule({1: 1.0, 8: 0.0}).startswith("frames/s at batch 1; of those that hold the bound")
    assert rule({1: 2.0, 8: 2.0}).startswith("geometric mean of the frames/s at batch 1 and 8;")
    assert "weighted 1: 75%, 8: 25%" in rule({1: 3.0, 8: 1.0})
