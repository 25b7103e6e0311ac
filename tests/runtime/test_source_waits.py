# SPDX-License-Identifier: Apache-2.0
"""Honest waits of a source are left alone; every other one has a deadline."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.source_rig import LIMITS, TICK_S, Source

from edged.runtime.source_machine import Order
from edged.stages.capture.progress import Phase


@settings(max_examples=30, deadline=None)
@given(st.floats(0.0, 5000.0), st.booleans())
def test_an_honest_wait_is_left_alone(seconds: float, had_frames: bool) -> None:
    source = Source()
    if had_frames:
        source.play([0.04] * 10, 0.04)
    for _ in range(int(min(seconds, 60.0) * 2)):
        source.phase(Phase.WAITING)
        source.run(0.5)
    source.now += seconds  # the machine was suspended
    source.run(TICK_S)
    source.phase(Phase.WAITING)
    source.run(0.5)
    assert "stalled" not in [state for state, _ in source.told]
    assert not source.orders


def test_a_wait_that_is_not_said_again_is_a_hang() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    source.phase(Phase.WAITING)
    source.run(1.4)
    assert not source.orders
    source.run(0.2)
    assert [order for _, order in source.orders] == [Order.KILL]
    source.machine.died(source.now, "the capture process was killed by signal 9")
    assert source.told[-1] == ("backoff", "the capture process hangs")


def test_waiting_to_be_told_what_to_do_has_no_deadline() -> None:
    source = Source(begun=False)
    source.run(1000.0)
    assert (source.state, source.orders, source.told) == ("opening", [], [])


def test_who_has_slept_cannot_tell_who_else_did() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    source.now += 3600.0
    source.run(1.0)
    assert source.told == [("live", "")]
    source.run(1.0)
    assert source.told[-1][0] == "stalled"


def test_each_step_of_opening_has_a_deadline() -> None:
    source = Source()
    for _ in range(4):
        source.phase(Phase.OPENING)
        source.run(LIMITS.open - 0.1)
    assert not source.orders
    source.run(0.5)
    assert [order for _, order in source.orders] == [Order.KILL]
    source.machine.died(source.now, "the capture process was killed by signal 9")
    assert source.told == [("backoff", "did not open within 15 s")]


def test_a_process_that_never_begins_is_replaced() -> None:
    source = Source()
    source.run(LIMITS.start - 0.1)
    assert not source.orders
    source.run(0.5)
    source.machine.died(source.now, "x")
    assert source.told == [("backoff", "the capture process did not start within 60 s")]


def test_a_stream_that_never_yields_a_frame_is_opened_anew() -> None:
    source = Source()
    source.phase(Phase.EXPECTING)
    source.run(LIMITS.first - 0.1)
    assert not source.orders
    source.run(0.5)
    source.machine.died(source.now, "x")
    assert source.told == [("backoff", "no frame for 10 s")]
