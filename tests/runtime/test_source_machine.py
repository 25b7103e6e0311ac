# SPDX-License-Identifier: Apache-2.0
"""The state machine of a source: every change has a reason, and nobody is given up."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from support.source_rig import TICK_S, Source

from edged.runtime.source_machine import Order
from edged.stages.capture.progress import Phase


def test_it_is_live_with_its_first_frame_not_when_it_was_opened() -> None:
    source = Source()
    source.phase(Phase.OPENING)
    source.run(1.0)
    source.phase(Phase.EXPECTING)
    source.run(1.0)
    assert source.state == "opening"
    source.frame()
    source.run(TICK_S)
    assert source.told == [("live", "")]


def test_a_camera_that_stops_is_stalled_in_time_and_its_process_killed_soon() -> None:
    source = Source()
    source.play([0.04] * 50, 0.04)
    stopped = source.now
    source.run(1.5 + TICK_S)
    assert source.told[-1] == ("stalled", "no frame for 1.5 s")
    assert not source.orders
    source.run(2.0 + TICK_S - (source.now - stopped))
    assert [order for _, order in source.orders] == [Order.KILL]
    source.run(1.0)
    assert len(source.orders) == 1
    source.machine.died(source.now, "the capture process was killed by signal 9")
    # Why it was killed is the reason, not that it was.
    assert source.told[-1] == ("backoff", "no frame for 1.5 s")
    assert source.machine.retry_at == source.now


def test_one_that_gives_nothing_but_damage_is_stalled_but_not_replaced_so_soon() -> None:
    source = Source()
    source.play([0.04] * 20, 0.04)
    for _ in range(40):
        source.standing = source.standing._replace(broken=source.standing.broken + 5)
        source.run(0.2)
    assert source.told[-1] == ("stalled", "no frame for 1.5 s")
    assert not source.orders
    for _ in range(40):
        source.standing = source.standing._replace(broken=source.standing.broken + 5)
        source.run(0.2)
    assert [order for _, order in source.orders] == [Order.KILL]


def test_frames_again_before_the_kill_are_news_too() -> None:
    source = Source()
    source.play([0.04] * 20, 0.04)
    source.run(1.7)
    source.frame()
    source.run(TICK_S)
    assert [state for state, _ in source.told] == ["live", "stalled", "live"]
    assert not source.orders


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from([0.04, 0.04, 0.04, 0.5, 0.54]), min_size=5, max_size=60))
def test_pauses_around_key_frames_are_no_stall(gaps: list[float]) -> None:
    source = Source()
    source.play(gaps, 0.04)
    assert source.told == [("live", "")]
    assert not source.orders


def test_it_says_when_to_look_again() -> None:
    source = Source()
    source.play([0.04] * 20, 0.04)
    source.machine.look(source.now, source.standing)
    assert source.machine.due_at == source.standing.since_s + 1.5
    source.now += 0.9
    source.machine.look(source.now, source.standing)
    source.now = source.standing.since_s + 1.501
    source.machine.look(source.now, source.standing)
    assert source.state == "stalled"
    assert source.machine.due_at == source.standing.since_s + 1.2 * 1.5


def test_what_cannot_be_killed_is_said_and_not_killed_twice() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    source.run(20.0)
    assert [order for _, order in source.orders] == [Order.KILL]
    assert source.told[-1] == ("stalled", "its capture process hangs and cannot be killed")


def test_threads_are_not_killed_and_may_come_back() -> None:
    source = Source(killable=False)
    source.play([0.04] * 10, 0.04)
    source.run(20.0)
    source.frame()
    source.run(TICK_S)
    assert [state for state, _ in source.told] == ["live", "stalled", "live"]
    assert not source.orders


EVENT = st.one_of(
    st.sampled_from(["begun", "died", "frame", "opening", "expecting", "waiting", "idle", "launched"]),
    st.tuples(st.just("failed"), st.sampled_from(["gone", "refused"])),
    st.tuples(st.just("pass"), st.floats(0.0, 30.0)),
)


def happen(source: Source, event: str | tuple[str, object]) -> None:
    machine, now = source.machine, source.now
    if isinstance(event, tuple) and event[0] == "pass":
        source.run(float(event[1]))  # type: ignore[arg-type]
    elif isinstance(event, tuple):
        machine.failed(now, str(event[1]), refused=event[1] == "refused")
    elif event == "begun":
        machine.begun(now)
    elif event == "launched":
        machine.launched()
    elif event == "died":
        source.phase(Phase.IDLE)
        machine.died(now, "it was killed by signal 11")
    elif event == "frame":
        source.frame()
    else:
        source.phase(Phase[event.upper()])


@settings(max_examples=150, deadline=None)
@given(st.lists(EVENT, max_size=30), st.sampled_from([None, "ended", "failed"]))
def test_whatever_happens_it_is_tried_again_until_it_is_over(events: list[object], last: str | None) -> None:
    source = Source()
    for event in events:
        happen(source, event)  # type: ignore[arg-type]
        # What is told is what is.
        assert source.told[-1:] in ([], [(source.state, source.machine.reason)])
    if last == "ended":
        source.machine.ended()
    elif last == "failed":
        source.machine.failed(source.now, "there is no such file", permanent=True)
    if last is not None:
        assert source.state == last
        count = len(source.told)
        for event in events:
            happen(source, event)  # type: ignore[arg-type]
        assert (source.state, len(source.told), source.machine.over) == (last, count, True)
        return
    # Nothing of it is for ever: when its process dies, there is a next try, and with a frame it is live.
    source.machine.begun(source.now)
    source.phase(Phase.IDLE)
    source.machine.died(source.now, "it was killed by signal 11")
    retry_at = source.machine.retry_at
    assert source.state == "backoff"
    assert retry_at is not None
    assert retry_at <= source.now + 10.0
    source.run(retry_at - source.now + TICK_S)
    assert source.orders[-1][1] is Order.TRY
    source.machine.begun(source.now)
    source.frame()
    source.run(TICK_S)
    assert source.told[-1][0] == "live"
