# SPDX-License-Identifier: Apache-2.0
"""When a source that failed is tried again: at once, then ever later, and without end."""

from __future__ import annotations

from collections.abc import Callable

from support.source_rig import TICK_S, Source

from edged.runtime.source_machine import Order
from edged.stages.capture.progress import Phase


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
