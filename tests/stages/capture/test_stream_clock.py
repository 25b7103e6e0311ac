# SPDX-License-Identifier: Apache-2.0
"""A frame that has waited in a buffer is told from one that just came, whatever the camera's clock does."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.stages.capture.readers.stream_clock import StreamClock

MS = 10**6
PERIOD = 40 * MS


class Reader:
    """Takes frames of a camera with a clock of its own; what is not taken waits."""

    def __init__(self, *, rate: float = 1.0, offset_ns: int = 0, delay_ns: int = 5 * MS) -> None:
        self.clock = StreamClock()
        self.now = 10**12
        self._rate, self._offset, self._delay = rate, offset_ns, delay_ns
        self._sent = 0
        self._start = self.now

    def take(self, busy_ns: int = 2 * MS) -> tuple[int, int]:
        """Be busy, then take the next frame: what the clock says of its lag, and what it is."""
        self.now += busy_ns
        arrives = self._start + self._sent * PERIOD + self._delay
        waited = max(0, arrives - self.now)
        self.now = max(self.now, arrives)
        stream = self._offset + round(self._sent * PERIOD * self._rate)
        self._sent += 1
        return self.clock.lag_ns(stream, self.now, waited), self.now - arrives


def test_a_reader_that_keeps_up_never_lags() -> None:
    reader = Reader()
    assert {reader.take()[0] for _ in range(500)} == {0}
    assert reader.clock.period_ns == PERIOD


@settings(max_examples=40, deadline=None)
@given(st.floats(0.98, 1.02), st.integers(0, 10**15))
def test_a_clock_that_runs_fast_or_slow_is_no_lag(rate: float, offset_ns: int) -> None:
    reader = Reader(rate=rate, offset_ns=offset_ns)
    assert max(reader.take()[0] for _ in range(1500)) == 0


@settings(max_examples=40, deadline=None)
@given(st.integers(200, 20_000))
def test_after_a_pause_the_lag_is_known_to_the_millisecond(pause_ms: int) -> None:
    reader = Reader()
    for _ in range(50):
        reader.take()
    told, true = reader.take(busy_ns=pause_ms * MS)
    assert told == pytest.approx(true, abs=MS)
    while true > 0:
        told, true = reader.take(busy_ns=MS)
        assert told == pytest.approx(true, abs=MS)
    assert {reader.take()[0] for _ in range(50)} == {0}


def test_a_reader_that_is_too_slow_sees_itself_fall_behind() -> None:
    reader = Reader()
    for _ in range(50):
        reader.take()
    for _ in range(100):
        told, true = reader.take(busy_ns=2 * PERIOD)
    assert true > 3 * 10**9
    assert told == pytest.approx(true, rel=0.02)


def test_a_busy_machine_that_looks_like_waiting_hides_little() -> None:
    """Every tenth time the process does not run for a while inside the call, which looks as if it had waited."""
    chance = random.Random(0)
    clock = StreamClock()
    now, behind = 10**12, 0
    for frame in range(100):
        now += 2 * PERIOD
        behind = frame * PERIOD
        told = clock.lag_ns(frame * PERIOD, now, PERIOD if chance.random() < 0.1 else 0)
        if frame > 50 and told:
            assert told > behind / 3
    assert behind > 3 * 10**9


def test_timestamps_that_leap_or_do_not_rise_begin_anew() -> None:
    clock = StreamClock()
    now, stream = 10**12, 0
    for step in (PERIOD, PERIOD, 3600 * 10**9, PERIOD, -7200 * 10**9, PERIOD, 0, 0, 0):
        now, stream = now + 10 * PERIOD, stream + step
        if step == PERIOD:
            clock.lag_ns(stream, now, 0)
        else:
            assert clock.lag_ns(stream, now, 0) == 0
            assert clock.period_ns == 0


def test_without_timestamps_nothing_is_known() -> None:
    clock = StreamClock()
    assert {clock.lag_ns(0, at * PERIOD, 0) for at in range(1, 100)} == {0}


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(-(10**13), 10**13), st.integers(0, 10**11), st.integers(0, 10**9)), max_size=60))
def test_a_lag_is_never_negative_nor_more_than_has_passed(steps: list[tuple[int, int, int]]) -> None:
    clock = StreamClock()
    stream = now = 10**15
    for step, passed, waited in steps:
        stream, now = stream + step, now + passed
        assert 0 <= clock.lag_ns(stream, now, waited) <= now - 10**15
