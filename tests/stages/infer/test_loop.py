# SPDX-License-Identifier: Apache-2.0
"""The infer loop over real rings and the real batching policy: every frame once, in order, and all accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.infer_bench import MAX_AGE_NS, Bench

from edged.records import Ready
from edged.shm.board import INFER_ROW, INFER_STAGES
from edged.shm.wake import Wake

STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("capture"), st.integers(0, 2), st.sampled_from([0, 0, 0, MAX_AGE_NS + 1]), st.sampled_from([1, 2])
        ),
        st.tuples(st.just("mixed sizes"), st.integers(0, 2), st.just(0), st.sampled_from([1, 2])),
        st.tuples(st.sampled_from(["finish", "publish", "look", "end"]), st.integers(0, 2), st.just(0), st.just(0)),
    ),
    max_size=80,
)


def step(bench: Bench, kind: str, source: int, age_ns: int, height: int) -> None:
    if kind == "capture":
        bench.capture(source, age_ns, height)
    elif kind == "mixed sizes":
        for each in (height, 3 - height, height):
            bench.capture(source, age_ns, each)
    elif kind == "finish":
        bench.device.finish()
    elif kind == "publish":
        bench.publish()
    elif kind == "end":
        bench.tables[source].set_ended(True)
    for table in bench.tables:
        assert 0 <= table.counts().in_flight <= table.layout.slots + bench.outputs.layout.slots * bench.device.max_batch


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(1, 3))
def test_every_frame_is_accounted_for_and_results_come_in_order(
    steps: list[tuple[str, int, int, int]], slots: int, max_batch: int
) -> None:
    bench = Bench([True, False, True], slots=slots, max_batch=max_batch)
    bench.run([partial(step, bench, *each) for each in steps])
    bench.settle()
    for source, table in enumerate(bench.tables):
        ids = [result.frame_id for result in bench.results if result.source == source]
        assert ids == sorted(set(ids))
        counts = table.counts()
        assert counts.captured == len(ids) + counts.overwritten + counts.stale
        if not table.live:
            assert ids == list(range(counts.captured))
    assert all(result.value == bench.values[result.source, result.frame_id] for result in bench.results)
    assert max(bench.device.batches, default=0) <= max_batch
    assert bench.board.row(INFER_ROW).beats == len(bench.device.batches)
    bench.close()


def test_a_frame_too_old_to_be_published_in_time_is_dropped_before_it_costs_anything() -> None:
    bench = Bench([True])
    bench.run([lambda: bench.capture(0, MAX_AGE_NS + 1), lambda: None])
    assert bench.tables[0].counts().stale == 1
    assert bench.device.batches == []
    # A batch that took longer than the limit makes the next frame look hopeless, but not every frame from then on.
    longer_s = 1.1 * MAX_AGE_NS / 1e9
    bench.run([lambda: bench.capture(0), lambda: time.sleep(longer_s), bench.device.finish, bench.publish])
    bench.run([lambda: bench.capture(0), lambda: None])
    assert bench.tables[0].counts().stale == 2
    for _ in range(10):
        bench.run([lambda: bench.capture(0), lambda: None])
    assert len(bench.device.batches) > 1
    bench.close()


def test_a_full_output_ring_stops_taking_and_live_frames_are_overwritten() -> None:
    bench = Bench([True, False], slots=1, max_batch=1)

    def turn() -> None:
        bench.capture(0)
        bench.capture(1)
        bench.device.finish()

    bench.run([turn] * 30)
    live, lossless = (table.counts() for table in bench.tables)
    assert bench.outputs.free_slots() == []
    assert live.overwritten > 10  # the newest frame waits, none piles up
    assert lossless.captured < 30  # capture had to wait
    assert (lossless.overwritten, lossless.stale) == (0, 0)
    bench.settle()
    ids = [result.frame_id for result in bench.results if result.source == 1]
    assert ids == list(range(lossless.captured))
    bench.close()


def test_sources_are_told_of_space_and_publish_of_results() -> None:
    bench = Bench([True, False])
    bench.run([lambda: bench.capture(1), bench.device.finish, lambda: None])
    bench.run([lambda: bench.capture(0), bench.device.finish, lambda: None])
    assert bench.wake_publish.clear()
    assert bench.spaces[1].clear()
    assert not bench.spaces[0].clear()  # a live source never waits
    times = bench.board.row(INFER_ROW).times(INFER_STAGES)
    assert times["infer"] == (2, 2000, 1000)
    assert times["submit"].runs == times["deliver"].runs == 2
    bench.close()


def test_frames_wait_for_company_while_it_is_expected_and_no_longer_than_allowed() -> None:
    bench = Bench([False, False], max_batch=4, delay_ns=30_000_000, wake=Wake)
    for pause_s in (0.0, 0.05):
        time.sleep(pause_s)
        for source in (0, 1):
            bench.capture(source)
        bench.run([lambda: None])
        bench.device.finish()
    bench.run([lambda: None])
    assert bench.device.batches == [2, 2]  # both have contributed: there is nothing to wait for
    for frames in (1, 2):  # next to all that a batch costs is the batch itself
        bench.loop._occupancy.cost.observe(frames, 500_000_000)
    bench.capture(0)
    start = time.monotonic()
    looks: list[float] = []

    def should_stop() -> bool:
        looks.append(time.monotonic() - start)
        return len(bench.device.batches) == 3 or looks[-1] > 5

    # The other source may come any moment, so the loop sleeps until the delay is over and closes the batch as it is.
    bench.loop.run(should_stop)
    assert bench.device.batches == [2, 2, 1]
    assert 0.02 <= looks[-1] < 0.5
    assert len(looks) < 10
    bench.close()


def test_a_frame_waits_in_its_ring_while_the_device_is_busy_where_a_newer_one_takes_its_place() -> None:
    for lanes, taken in ((1, [0, 2]), (None, [0, 1])):
        bench = Bench([True], slots=2, max_batch=1, lanes=lanes)
        bench.loop._occupancy.cost.observe(1, 40_000_000)
        bench.run([lambda bench=bench: bench.capture(0)] * 3)  # type: ignore[misc]
        assert len(bench.device.batches) == (1 if lanes else 2)
        bench.run([bench.device.finish])
        bench.settle()
        assert [result.frame_id for result in bench.results[:2]] == taken
        bench.close()


@pytest.mark.parametrize("finished", [True, False])
def test_draining_delivers_what_is_done_and_gives_up_on_the_rest(finished: bool) -> None:
    bench = Bench([False])
    bench.run([lambda: bench.capture(0), lambda: None])
    if finished:
        bench.device.finish()
    assert bench.loop.drain(0.05) is finished
    assert (bench.outputs.oldest() is not None) is finished
    bench.close()


def test_an_idle_loop_sleeps_until_it_is_woken() -> None:
    bench = Bench([False], wake=Wake)
    looks: list[float] = []

    def should_stop() -> bool:
        looks.append(time.monotonic())
        return len(looks) == 2

    bench.loop.run(should_stop)
    assert 0.4 <= looks[1] - looks[0] < 2.0
    looks.clear()
    timer = threading.Timer(0.02, bench.wake.set)
    timer.start()
    bench.loop.run(should_stop)
    assert looks[1] - looks[0] < 0.4
    timer.join()
    bench.close()


def test_a_frame_that_is_not_as_it_was_said_to_be_is_looked_at_again() -> None:
    """What a look without the lock says may be torn; taking finds out, and the frame is not forgotten."""
    bench = Bench([True, False])
    for source, table in enumerate(bench.tables):
        bench.capture(source)
        whole = table.ready
        looks: list[int] = []

        def torn(whole: Callable[[], list[Ready]] = whole, looks: list[int] = looks) -> list[Ready]:
            looks.append(1)
            return [frame._replace(input_height=1) if len(looks) == 1 else frame for frame in whole()]

        table.ready = torn  # type: ignore[method-assign]
    bench.run([lambda: None] * 3)
    bench.settle()
    assert [(result.source, result.frame_id) for result in bench.results] == [(0, 0), (1, 0)]
    assert all(result.value == bench.values[result.source, result.frame_id] for result in bench.results)
    bench.close()


@pytest.mark.parametrize("asynchronous", [True, False])
def test_the_next_batch_is_submitted_first_unless_that_takes_as_long_as_the_batch(asynchronous: bool) -> None:
    bench = Bench([False, False], slots=1, max_batch=2)
    bench.loop._asynchronous = asynchronous
    order: list[str] = []

    def noted(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            order.append(name)
            return function(*arguments)

        return call

    bench.capture(0)
    bench.run([lambda: None])
    bench.capture(1)
    bench.device.finish()
    bench.device.submit = noted("submit", bench.device.submit)  # type: ignore[method-assign]
    bench.outputs.deliver = noted("deliver", bench.outputs.deliver)  # type: ignore[method-assign]
    bench.wake_publish.set = noted("wake publish", bench.wake_publish.set)  # type: ignore[method-assign]
    for table in bench.tables:
        table.release = noted("release", table.release)  # type: ignore[method-assign]
    bench.run([lambda: None])
    tidied = ["wake publish", "release"]
    assert order == ["deliver", *(["submit", *tidied] if asynchronous else [*tidied, "submit"])]
    bench.close()
