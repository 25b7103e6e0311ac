# SPDX-License-Identifier: Apache-2.0
"""The state machine of a source: every change has a reason, honest waits are left alone, nobody is given up."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from hypothesis import given, settings
from hypothesis import strategies as st

from edged.messages import SourceState
from edged.runtime.source_machine import Deadlines, Order, SourceMachine
from edged.stages.capture.progress import Phase, Standing

TICK_S = 0.2
LIMITS = Deadlines()
ALLOWED: dict[SourceState, set[SourceState]] = {
    "opening": {"live", "backoff", "ended", "failed", "stalled"},
    "live": {"stalled", "backoff", "ended", "failed"},
    "stalled": {"live", "backoff", "ended", "failed", "stalled"},
    "backoff": {"live", "backoff", "ended", "failed", "stalled"},
    "ended": set(),
    "failed": set(),
}


class Source:
    """A machine, what it has told, and a clock that is turned by hand."""

    def __init__(self, deadlines: Deadlines = LIMITS, *, killable: bool = True, begun: bool = True) -> None:
        self.told: list[tuple[SourceState, str]] = []
        self.machine = SourceMachine(deadlines, self._changed, killable=killable, chance=lambda: 0.0)
        self.now = 1000.0
        self.standing = Standing()
        self.orders: list[tuple[float, Order]] = []
        if begun:
            self.machine.begun(self.now)

    def _changed(self, state: SourceState, reason: str) -> None:
        before = self.told[-1] if self.told else ("opening", "")
        assert (state, reason) != before
        assert state in ALLOWED[before[0]] or before[0] == state, (before, state)
        assert bool(reason) == (state in ("stalled", "backoff", "failed")), (state, reason)
        self.told.append((state, reason))

    def phase(self, phase: Phase) -> None:
        self.standing = self.standing._replace(phase=phase, since_s=self.now)

    def frame(self, interval_s: float | None = None) -> None:
        interval_s = self.standing.interval_s if interval_s is None else interval_s
        self.standing = Standing(Phase.EXPECTING, self.now, self.standing.frames + 1, interval_s)

    def run(self, seconds: float) -> None:
        """Let time pass, looking as the supervisor does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + TICK_S)
            order = self.machine.look(self.now, self.standing)
            if order is not Order.NOTHING:
                self.orders.append((self.now, order))

    def play(self, gaps: Iterable[float], interval_s: float) -> None:
        """Frames with these gaps between them."""
        for gap in gaps:
            self.run(gap)
            self.frame(interval_s)
        self.run(0.001)

    @property
    def state(self) -> SourceState:
        return self.machine.state


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


def test_one_frame_every_five_seconds() -> None:
    source = Source()
    source.play([5.0] * 3, 0.0)
    source.play([5.0] * 20, 5.0)
    assert source.told == [("live", "")]


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


def test_who_has_slept_cannot_tell_who_else_did() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    source.now += 3600.0
    source.run(1.0)
    assert source.told == [("live", "")]
    source.run(1.0)
    assert source.told[-1][0] == "stalled"


def test_frames_that_a_dead_process_left_are_no_sign_of_life() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    source.frame()
    source.machine.saw(source.now, source.standing.frames)
    source.machine.died(source.now, "the capture process was killed by signal 11")
    source.standing = source.standing._replace(phase=Phase.IDLE)
    source.machine.begun(source.now)
    source.run(1.0)
    assert source.told[-1] == ("backoff", "the capture process was killed by signal 11")


def waits(fail: Callable[[Source], None], times: int) -> list[float]:
    """How long it waits between tries that all fail in the same way."""
    source, found = Source(), []
    for _ in range(times):
        fail(source)
        retry_at = source.machine.retry_at
        assert retry_at is not None
        found.append(round(retry_at - source.now, 3))
        source.run(found[-1] + TICK_S)
        assert source.orders[-1][1] is Order.TRY
        source.machine.begun(source.now)
    # Said once, however often it was tried.
    assert len(source.told) == 1
    return found


def test_tries_come_ever_later_and_never_end() -> None:
    assert waits(lambda source: source.machine.failed(source.now, "gone"), 9) == [0, 0.25, 0.5, 1, *[1.5] * 5]


def test_processes_that_die_at_once_are_started_ever_later() -> None:
    dies = waits(lambda source: source.machine.died(source.now, "it was killed by signal 11"), 9)
    assert dies == [0, 0.25, 0.5, 1, 2, 4, 8, 10, 10]


def test_processes_that_die_after_a_frame_are_replaced_within_two_seconds() -> None:
    def dies(source: Source) -> None:
        source.frame()
        source.machine.saw(source.now, source.standing.frames)
        source.machine.died(source.now, "it was killed by signal 11")
        source.told[:] = source.told[-1:]

    assert waits(dies, 7) == [0, 0.25, 0.5, 1, 1.5, 1.5, 1.5]


def test_who_is_refused_does_not_knock_all_the_time() -> None:
    refused = waits(lambda source: source.machine.failed(source.now, "refused (401)", refused=True), 6)
    assert refused == [60, 120, 240, 480, 600, 600]


def test_credentials_that_were_good_are_tried_again_sooner() -> None:
    source = Source()
    source.play([0.04] * 10, 0.04)
    for wait_s in (2.0, 4.0, 8.0):
        source.machine.failed(source.now, "refused (401)", refused=True)
        assert source.machine.retry_at == source.now + wait_s
        source.machine.begun(source.now)


def test_after_it_ran_well_it_is_tried_again_at_once() -> None:
    source = Source()
    for _ in range(3):
        source.machine.failed(source.now, "gone")
        source.machine.begun(source.now)
    source.play([0.1] * 60, 0.1)
    source.machine.failed(source.now, "gone")
    assert source.machine.retry_at == source.now


def test_a_process_that_ends_because_it_failed_is_one_failure() -> None:
    source = Source()
    source.machine.failed(source.now, "gone")
    retry_at = source.machine.retry_at
    source.machine.died(source.now + 0.1, "it ended with status 0")
    assert source.machine.retry_at == retry_at
    assert source.told == [("backoff", "gone")]


def test_a_process_that_dies_while_it_waits_for_orders_is_started_again() -> None:
    source = Source(begun=False)
    for wait_s in (0.0, 0.25, 0.5):
        source.machine.died(source.now, "it was killed by signal 9")
        assert source.machine.retry_at == source.now + wait_s
        source.machine.launched()


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
