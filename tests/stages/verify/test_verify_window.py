# SPDX-License-Identifier: Apache-2.0
"""Figures over the last frames, and an alarm that is neither late nor a nuisance."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.verify.window import DWELL_S, FEWEST, LONG, SHORT, Alarm, Window


def feed(window: Window, alarm: Alarm, points: list[float], now_s: float, step_s: float = 1.0) -> list[str]:
    verdicts: list[str] = []
    for number, each in enumerate(points):
        window.add(each, None)
        recent = window.last(SHORT)
        assert recent is not None
        verdict = alarm.look(recent, now_s + number * step_s)
        if verdict:
            verdicts.append(verdict)
    return verdicts


def test_figures_are_of_the_last_frames_only() -> None:
    window = Window()
    assert window.last(SHORT) is None
    for number in range(LONG + 5):
        window.add(float(number), 0.5 if number % 2 else None)
    short, long = window.last(SHORT), window.last(LONG)
    assert short is not None
    assert long is not None
    assert (short.frames, short.worst, short.score_shift) == (SHORT, LONG + 5 - SHORT, 0.5)
    assert short.mean == pytest.approx(LONG + 5 - (SHORT + 1) / 2)
    assert (long.frames, long.worst) == (LONG, 5.0)


def test_it_tells_once_and_once_more_when_it_is_back() -> None:
    window, alarm = Window(), Alarm(95.0)
    assert feed(window, alarm, [100.0] * 60, 0) == []
    assert feed(window, alarm, [80.0] * 200, 1000) == ["below"]
    # Above the bound is not enough: a fifth of what is left to 100 above it is.
    assert feed(window, alarm, [95.9] * 300, 2000) == []
    assert alarm.below
    assert feed(window, alarm, [96.1] * 300, 3000) == ["back"]
    assert not alarm.below


def test_few_frames_are_no_verdict() -> None:
    window, alarm = Window(), Alarm(95.0)
    assert feed(window, alarm, [0.0] * (FEWEST - 1), 0) == []
    assert feed(window, alarm, [0.0], 0) == ["below"]


@settings(deadline=None, max_examples=60)
@given(st.lists(st.sampled_from([0.0, 50.0, 94.0, 96.0, 100.0]), max_size=12), st.sampled_from([0.0, 0.1, 2.0]))
def test_there_is_never_a_storm(levels: list[float], step_s: float) -> None:
    window, alarm = Window(), Alarm(95.0)
    verdicts: list[tuple[int, float, str]] = []
    for number, level in enumerate(level for level in levels for _ in range(60)):
        window.add(level, None)
        recent = window.last(SHORT)
        assert recent is not None
        verdict = alarm.look(recent, number * step_s)
        if verdict:
            verdicts.append((number, number * step_s, verdict))
    for (before, before_s, first), (after, after_s, second) in itertools.pairwise(verdicts):
        assert first != second
        assert after - before >= FEWEST
        assert after_s - before_s >= DWELL_S
