# SPDX-License-Identifier: Apache-2.0
"""A camera is judged by its own rate, as far as that is known."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.source_rig import TICK_S, Source

from edged.runtime.source_machine import Order
from edged.stages.capture.progress import Phase


@settings(max_examples=30, deadline=None)
@given(st.floats(0.5, 9.0), st.lists(st.floats(0.6, 1.4), min_size=5, max_size=15))
def test_a_slow_camera_has_its_own_pace(interval_s: float, jitter: list[float]) -> None:
    source = Source()
    source.play([min(9.5, interval_s * part) for part in jitter[:2]], 0.0)  # its rate is not known yet
    source.play([min(9.5, interval_s * jitter[2])], interval_s)
    source.play([interval_s * part for part in jitter], interval_s)
    assert source.told == [("live", "")]
    assert not source.orders
    source.run(4.0 * interval_s + 2.0)
    assert source.told[-1][0] == "stalled"


def again(source: Source, how: str = "the capture process was killed by signal 9") -> None:
    """Its process is gone, and the next one opens the source; what was known of its rate is still there."""
    source.phase(Phase.IDLE)
    source.machine.died(source.now, how)
    source.run((source.machine.retry_at or 0.0) - source.now + TICK_S)
    source.machine.begun(source.now)
    source.phase(Phase.OPENING)
    source.run(0.5)
    source.phase(Phase.EXPECTING)


def test_the_rate_of_the_connection_before_is_believed() -> None:
    source = Source()
    source.play([0.04] * 20, 0.04)
    again(source)
    source.run(5.0)  # until its first key frame
    source.frame()
    assert not [order for _, order in source.orders if order is Order.KILL]
    source.run(1.5 + TICK_S)
    assert source.told[-1][0] == "stalled"
    source.run(0.5)
    assert source.orders[-1][1] is Order.KILL


def test_unless_it_proves_wrong() -> None:
    """A camera goes over to a frame every five seconds."""
    source = Source()
    source.play([0.04] * 20, 0.04)
    source.run(2.0)
    assert source.orders[-1][1] is Order.KILL
    again(source)
    source.frame()
    source.run(2.0)
    assert source.orders[-1][1] is Order.KILL
    again(source)
    kills = len(source.orders)
    source.frame()
    source.play([5.0] * 2, source.standing.interval_s)  # the rate is known anew with the third interval
    source.play([5.0] * 10, 5.0)
    assert source.state == "live"
    assert len(source.orders) == kills


def test_a_rate_that_was_shown_anew_is_believed_again() -> None:
    """A connection that ran well wipes out what the one before it made us doubt."""
    source = Source()
    source.play([0.04] * 20, 0.04)
    again(source)
    source.play([0.04] * 2, 0.04)
    source.run(2.0)
    assert source.orders[-1][1] is Order.KILL
    for frames in (20, 2):
        again(source)
        source.play([0.04] * frames, 0.04)
    kills = len([order for _, order in source.orders if order is Order.KILL])
    source.run(2.0)
    assert len([order for _, order in source.orders if order is Order.KILL]) == kills + 1


def test_a_connection_without_a_frame_says_nothing_about_the_rate() -> None:
    source = Source()
    source.play([0.04] * 20, 0.04)
    again(source)
    source.run(10.5)
    assert source.orders[-1][1] is Order.KILL
    again(source)
    source.frame()
    source.run(2.0)
    assert source.told[-1][0] == "stalled"


def test_one_frame_every_five_seconds() -> None:
    source = Source()
    source.play([5.0] * 3, 0.0)
    source.play([5.0] * 20, 5.0)
    assert source.told == [("live", "")]
