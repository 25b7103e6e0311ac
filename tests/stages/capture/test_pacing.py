# SPDX-License-Identifier: Apache-2.0
"""Pacing: no drift, no bursts, no more than the cap, no less than it could be."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.capture.pacing import Pacer, RateCap

SECOND = 10**9
RATES = st.floats(min_value=0.1, max_value=1000.0)
# Time from one question to the next, nanoseconds.
GAPS = st.lists(st.integers(min_value=0, max_value=SECOND), min_size=1, max_size=100)
QUICK = settings(deadline=None, max_examples=200)


@QUICK
@given(fps=RATES, start=st.integers(min_value=0, max_value=2**62))
def test_pacer_keeps_the_rate_exactly(fps: float, start: int) -> None:
    pacer = Pacer(fps)
    due = now = start
    for count in range(300):
        due = pacer.due_ns(now)
        assert abs((due - start) - count * SECOND / fps) <= 1 + count * SECOND / fps * 1e-12
        now = max(now, due)


@QUICK
@given(fps=RATES, gaps=GAPS)
def test_pacer_gives_each_tick_once_and_never_an_old_one(fps: float, gaps: list[int]) -> None:
    pacer = Pacer(fps)
    period = SECOND / fps
    now = before = start = pacer.due_ns(0)
    for gap in gaps:
        now += gap
        due = pacer.due_ns(now)
        assert due > before
        assert due - now <= period + 1 or due - before <= period + 1
        assert due > now - period - 1
        ticks = (due - start) / period
        assert abs(ticks - round(ticks)) * period <= 1 + due * 1e-12
        now, before = max(now, due), due


def test_pacer_after_a_pause_has_no_burst() -> None:
    pacer = Pacer(10)
    dues = [pacer.due_ns(0), pacer.due_ns(0)]
    now = int(5.25 * SECOND)
    while len(dues) < 6:
        dues.append(pacer.due_ns(now))
        now = max(now, dues[-1])
    assert [due / SECOND for due in dues] == [0.0, 0.1, 5.2, 5.3, 5.4, 5.5]


@QUICK
@given(fps=RATES, gaps=GAPS)
def test_cap_is_an_upper_bound(fps: float, gaps: list[int]) -> None:
    cap, passed, now = RateCap(fps), [], 0
    for gap in gaps:
        now += gap
        if cap.allow(now):
            passed.append(now)
    for first, begin in enumerate(passed):
        for count, end in enumerate(passed[first:], 1):
            assert count <= (end - begin) * fps / SECOND + 3 + 1e-6


@QUICK
@given(
    source=st.floats(min_value=1, max_value=240),
    part=st.floats(min_value=0.05, max_value=1.0),
    jitter=st.floats(min_value=0, max_value=0.1),
    seed=st.integers(min_value=0, max_value=2**32),
)
def test_cap_reaches_the_rate_it_allows(source: float, part: float, jitter: float, seed: int) -> None:
    """At a faster source the cap is reached; at one of the same rate next to nothing is lost, jitter or not."""
    uniform = random.Random(seed).uniform
    cap = RateCap(source * part)
    count = 400
    times = [round((index + uniform(-jitter, jitter)) * SECOND / source) + SECOND for index in range(count)]
    passed = sum(cap.allow(now) for now in times)
    assert count * part - 3 <= passed <= count * part + 3


@pytest.mark.parametrize(("source", "limit", "passed"), [(30, 15, 300), (30, 20, 400), (30, 30, 600), (25, 30, 500)])
def test_cap_on_common_rates(source: int, limit: int, passed: int) -> None:
    cap = RateCap(limit)
    got = sum(cap.allow(index * SECOND // source) for index in range(20 * source))
    assert abs(got - passed) <= 1


def test_cap_of_half_the_rate_is_even() -> None:
    cap = RateCap(15)
    assert [cap.allow(index * SECOND // 30) for index in range(8)] == [True, False] * 4


@QUICK
@given(fps=RATES, work=st.floats(min_value=0, max_value=0.99))
def test_cap_slows_lossless_sources_down(fps: float, work: float) -> None:
    """Waiting for next_ns each time, frames pass at exactly the cap, however long each takes."""
    cap, now = RateCap(fps), SECOND
    times = []
    for _ in range(50):
        now = cap.next_ns(now)
        assert cap.allow(now)
        times.append(now)
        now += int(work * SECOND / fps)
    assert math.isclose(times[-1] - times[0], 49 * SECOND / fps, rel_tol=1e-6)


@pytest.mark.parametrize("fps", [0.0, -1.0, math.nan, math.inf])
@pytest.mark.parametrize("kind", [Pacer, RateCap])
def test_rates_must_be_rates(kind: type[Pacer] | type[RateCap], fps: float) -> None:
    with pytest.raises(ValueError, match="above 0"):
        kind(fps)
