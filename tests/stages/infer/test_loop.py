# SPDX-License-Identifier: Apache-2.0
"""The infer loop over real rings and the real batching policy: every frame once, in order, and all accounted for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import FrameRecord, TensorSpec
from edged.shm.board import INFER_ROW, INFER_STAGES, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed
from edged.stages.infer.loop import InferLoop
from edged.stages.infer.pipeline import SlotPipeline, Source

HEIGHT, WIDTH = 2, 2
MAX_AGE_NS = 50_000_000


class Device:
    """An executor whose batches end when they are told to; each result is the sum of its frame's pixels."""

    def __init__(self, slots: int, max_batch: int) -> None:
        self.slots, self.max_batch, self.io = slots, max_batch, "manual"
        self.running: dict[int, tuple[BatchInput, BatchOutput]] = {}
        self.finished: set[int] = set()
        self.batches: list[int] = []

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        assert slot not in self.running
        self.running[slot] = (batch, output)
        self.batches.append(len(batch.frames))

    def finish(self) -> None:
        for slot in set(self.running) - self.finished:
            batch, output = self.running[slot]
            output.view(0)[:, 0] = [int(frame.sum()) for frame in batch.frames]
            self.finished.add(slot)

    def done(self, slot: int) -> bool:
        return slot in self.finished

    def wait(self, slot: int, timeout_s: float) -> bool:
        return slot in self.finished

    def collect(self, slot: int) -> Elapsed:
        self.finished.remove(slot)
        del self.running[slot]
        return Elapsed(0, 1000, 500)

    def close(self) -> None: ...


class Awake(Wake):
    """A wake-up that nobody sleeps on: the test makes the next step at once."""

    def wait(self, timeout_s: float) -> bool:
        return super().wait(0.0)


class Result(NamedTuple):
    source: int
    frame_id: int
    value: int


class Bench:
    """Rings, loop and device; the test plays capture and publish, one step for each look at the stop request."""

    def __init__(
        self,
        live: Sequence[bool],
        *,
        slots: int = 2,
        max_batch: int = 2,
        delay_ns: int = 0,
        wake: type[Wake] = Awake,
    ) -> None:
        self.device = Device(slots, max_batch)
        lossless = (slots + 1) * max_batch
        self.tables = [
            FrameTable.create(slots + 2 if each else lossless, HEIGHT * WIDTH * 3, live=each) for each in live
        ]
        self.pixels = [FramePixels(table) for table in self.tables]
        self.spaces = [Wake() for _ in live]
        self.outputs = OutputTable.create(OutputLayout(slots + 2, max_batch, (TensorSpec("sum", "int64", (1,)),)))
        self.wake, self.wake_publish = wake(), Wake()
        self.board = Board.create(3)
        sources = [Source(*each) for each in zip(self.tables, self.pixels, (w.fd for w in self.spaces), strict=True)]
        policies = [SourcePolicy(MAX_AGE_NS if each else None) for each in live]
        self.loop = InferLoop(
            SlotPipeline(self.device, sources, self.outputs),
            sources,
            Collator(policies, max_batch, delay_ns).decide,
            wake=self.wake,
            wake_publish=self.wake_publish,
            row=self.board.row(INFER_ROW),
        )
        self.results: list[Result] = []
        self.values: dict[tuple[int, int], int] = {}

    def capture(self, source: int, age_ns: int = 0, height: int = HEIGHT) -> bool:
        table = self.tables[source]
        slot = table.acquire()
        if slot is None:
            return False
        now = time.monotonic_ns()
        value = (7 * table.counts().captured + source) % 256
        self.pixels[source].frame(slot, height, WIDTH)[...] = value
        record = FrameRecord(source, 0, now - age_ns, 1, 64, 48, WIDTH, height)
        frame_id = table.commit(slot, record, now)
        self.values[source, frame_id] = value * height * WIDTH * 3
        self.wake.set()
        return True

    def publish(self) -> None:
        slot = self.outputs.oldest()
        if slot is None:
            return
        frames = self.outputs.frames(slot)
        sums = OutputTensors(self.outputs).outputs(slot, len(frames))["sum"]
        for frame, value in zip(frames, sums[:, 0].tolist(), strict=True):
            self.results.append(Result(frame.source, frame.frame_id, value))
            self.tables[frame.source].settle(frame.frame_id, published=True)
        self.outputs.release(slot)
        self.wake.set()

    def run(self, steps: Sequence[Callable[[], object]]) -> None:
        """Run the loop; before each of its turns one step is made."""
        left = list(steps)

        def should_stop() -> bool:
            if not left:
                return True
            left.pop(0)()
            return False

        self.loop.run(should_stop)

    def settle(self) -> None:
        """Let everything that waits go through."""
        for _ in range(200):
            if all(table.counts().in_flight == 0 for table in self.tables):
                return
            self.run([self.device.finish, self.publish])
        raise AssertionError([table.counts() for table in self.tables])

    def close(self) -> None:
        del self.loop
        self.device.running.clear()
        self.pixels.clear()
        for table in self.tables:
            table.close()
        self.outputs.close()
        self.board.region.close()
        for wake in (self.wake, self.wake_publish, *self.spaces):
            wake.close()


STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("capture"), st.integers(0, 2), st.sampled_from([0, 0, 0, MAX_AGE_NS + 1]), st.sampled_from([1, 2])
        ),
        st.tuples(st.sampled_from(["finish", "publish", "look", "end"]), st.integers(0, 2), st.just(0), st.just(0)),
    ),
    max_size=80,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(1, 3), st.integers(1, 3))
def test_every_frame_is_accounted_for_and_results_come_in_order(
    steps: list[tuple[str, int, int, int]], slots: int, max_batch: int
) -> None:
    bench = Bench([True, False, True], slots=slots, max_batch=max_batch)

    def step(kind: str, source: int, age_ns: int, height: int) -> None:
        if kind == "capture":
            bench.capture(source, age_ns, height)
        elif kind == "finish":
            bench.device.finish()
        elif kind == "publish":
            bench.publish()
        elif kind == "end":
            bench.tables[source].set_ended(True)
        for table in bench.tables:
            assert 0 <= table.counts().in_flight <= table.layout.slots + (slots + 2) * max_batch

    bench.run([partial(step, *each) for each in steps])
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
    bench.run([lambda: bench.capture(0), lambda: time.sleep(0.06), bench.device.finish, bench.publish])
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
    assert bench.wake_publish.clear()
    assert bench.spaces[1].clear()
    assert not bench.spaces[0].clear()  # a live source never waits
    times = bench.board.row(INFER_ROW).times(INFER_STAGES)
    assert times["infer"] == (1, 1000, 500)
    assert times["submit"].runs == times["deliver"].runs == 1
    bench.close()


def test_frames_wait_for_company_no_longer_than_allowed() -> None:
    bench = Bench([False, False], max_batch=4, delay_ns=30_000_000, wake=Wake)
    for source in (0, 1):
        bench.capture(source)
    bench.run([lambda: None])
    assert bench.device.batches == [2]  # both have contributed: there is nothing to wait for
    bench.device.finish()
    bench.capture(0)
    start = time.monotonic()
    looks: list[float] = []

    def should_stop() -> bool:
        looks.append(time.monotonic() - start)
        return len(bench.device.batches) == 2 or looks[-1] > 5

    # The other source may come any moment, so the loop sleeps until the delay is over and closes the batch as it is.
    bench.loop.run(should_stop)
    assert bench.device.batches == [2, 1]
    assert 0.02 <= looks[-1] < 0.5
    assert len(looks) < 10
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
