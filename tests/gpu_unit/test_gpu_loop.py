# SPDX-License-Identifier: Apache-2.0
"""The infer loop on the accounting GPU: one wait for frames, free output slots and finished batches."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from gpu_unit.sum_rig import memory, sum_engine
from hypothesis import given, settings
from hypothesis import strategies as st
from support.pipeline_machine import HEIGHT, SUM, WIDTH

from edged.gpu.errors import GpuLostError
from edged.gpu.fake import FakeGpu
from edged.records import FrameRecord
from edged.shm.board import INFER_ROW, Board
from edged.shm.frame_table import TAKEN, FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.loop import InferLoop
from edged.stages.infer.pipeline import SlotPipeline, Source
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor


class GpuWake(Wake):
    """While the loop sleeps the GPU works; the test's next step is made when nothing has woken the loop."""

    def __init__(self, bench: Bench) -> None:
        super().__init__()
        self.bench = bench
        self.timeouts: list[float] = []

    def wait(self, timeout_s: float) -> bool:
        self.bench.advance()
        woken = super().wait(0.0)
        if not woken:
            self.timeouts.append(timeout_s)
            self.bench.asleep()
        return woken


class Bench:
    """Rings, a GPU and the loop over them; the test plays capture and publish."""

    def __init__(
        self, *, live: tuple[bool, ...] = (False, True), slots: int = 2, seed: int = 0, **options: Any
    ) -> None:
        self.random = random.Random(seed)
        self.gpu = FakeGpu()
        self.tables = [
            FrameTable.create(slots + 2 if each else (slots + 1) * 2, HEIGHT * WIDTH * 3, live=each) for each in live
        ]
        self.pixels = [FramePixels(table) for table in self.tables]
        self.outputs = OutputTable.create(OutputLayout(slots + 2, 2, (SUM,)))
        self.engine = sum_engine(self.gpu, (1, 2, 2))
        self.wake, self.wake_publish, self.board = GpuWake(self), Wake(), Board.create(3)
        self.spaces = [Wake() for _ in live]
        self.executor = self._executor(GpuOptions(slots=slots, max_batch=2, **options))
        sources = [Source(*each) for each in zip(self.tables, self.pixels, (w.fd for w in self.spaces), strict=True)]
        self.pipeline = SlotPipeline(self.executor, sources, self.outputs)
        self.loop = InferLoop(
            self.pipeline,
            sources,
            Collator([SourcePolicy() for _ in live], 2, 0).decide,
            wake=self.wake,
            wake_publish=self.wake_publish,
            row=self.board.row(INFER_ROW),
            announced=True,
        )
        self.steps: list[Callable[[], object]] = []
        self.most = 4
        self.expected: dict[tuple[int, int], int] = {}
        self.results: list[tuple[int, int]] = []

    def _executor(self, options: GpuOptions) -> TensorRtExecutor:
        """An executor that finds the GPU further at each look."""
        rings = [memory(f"frames {index}", table.region) for index, table in enumerate(self.tables)]
        rings.append(memory("outputs", self.outputs.region))
        executor = TensorRtExecutor(self.gpu, self.engine, [SUM], rings, options, wake_fd=self.wake.fd)
        done = executor.done

        def looked(slot: int) -> bool:
            # The GPU goes on while the host works, and so do capture and publish: an event may be reached long before
            # the bell rings for it, and the bell ring between a look and the sleep.
            self.advance()
            found = done(slot)
            self.advance()
            if self.steps and self.random.random() < 0.1:
                self.steps.pop(0)()
            return found

        executor.done = looked  # type: ignore[method-assign]
        return executor

    def advance(self) -> None:
        self.gpu.advance(self.random.randint(0, self.most), self.random.randrange)

    def asleep(self) -> None:
        """Nothing has woken the loop: then nothing may be left to do that it could know of."""
        waiting = any(table.ready() for table in self.tables)
        assert self.pipeline.output_slot() is None or not waiting, "a frame or a free output slot woke nobody"
        if not self.gpu.machine.pending:
            assert self.pipeline.in_flight == 0 or self.gpu.machine.stalled, "a finished batch woke nobody"
            if self.steps:
                self.steps.pop(0)()

    def capture(self, source: int, value: int) -> None:
        slot = self.tables[source].acquire()
        if slot is not None:
            frame = self.pixels[source].frame(slot, HEIGHT, WIDTH)
            frame[...] = value
            record = FrameRecord(source, 0, time.monotonic_ns(), 2, 9, 9, WIDTH, HEIGHT)
            frame_id = self.tables[source].commit(slot, record, time.monotonic_ns())
            self.expected[source, frame_id] = int(frame.sum())
            self.wake.set()

    def publish(self) -> None:
        slot = self.outputs.oldest()
        if slot is not None:
            frames = self.outputs.frames(slot)
            values = OutputTensors(self.outputs).outputs(slot, len(frames))["sum"][:, 0].tolist()
            keys = [(frame.source, frame.frame_id) for frame in frames]
            assert values == [self.expected[key] for key in keys]
            self.results += keys
            self.outputs.release(slot)
            for source, frame_id in keys:
                self.tables[source].settle(frame_id, published=True)
            self.wake.set()

    def run(self, turns: int = 100_000, until: Callable[[], bool] = lambda: False) -> None:
        """Run the loop until the steps are made and all is delivered."""
        left = turns

        def should_stop() -> bool:
            nonlocal left
            left -= 1
            assert left > 0, "the loop turns without an end"
            if self.steps and self.random.random() < 0.2:
                self.steps.pop(0)()
            idle = not self.steps and not self.pipeline.in_flight
            return until() or (idle and not any(table.ready() for table in self.tables))

        self.loop.run(should_stop)

    def close(self) -> None:
        self.executor.close()
        self.engine.close()
        self.gpu.close()
        del self.loop, self.pipeline, self.pixels, self.executor, self.gpu, self.engine
        for table in self.tables:
            table.close()
        self.outputs.close()
        self.board.close()
        for wake in (self.wake, self.wake_publish, *self.spaces):
            wake.close()


STEPS = st.lists(st.one_of(st.tuples(st.integers(0, 1), st.integers(0, 255)), st.none()), max_size=30)


@settings(deadline=None, max_examples=80)
@given(STEPS, st.integers(1, 3), st.integers(0, 1 << 30), st.booleans())
def test_nothing_sleeps_through_a_frame_a_free_slot_or_a_finished_batch(
    steps: list[tuple[int, int] | None], slots: int, seed: int, graphs: bool
) -> None:
    bench = Bench(slots=slots, seed=seed, graphs=graphs)
    for step in steps:
        bench.steps.append(bench.publish if step is None else partial(bench.capture, *step))
    bench.steps += [bench.publish] * 40
    bench.run()
    for source, table in enumerate(bench.tables):
        ids = [frame_id for owner, frame_id in bench.results if owner == source]
        counts = table.counts()
        assert ids == sorted(set(ids))
        assert (counts.in_flight, counts.published) == (0, len(ids))
        assert not table._in_state(TAKEN)
        assert table.live or ids == list(range(counts.captured))
    bench.close()


def test_a_frame_that_comes_while_a_batch_is_in_flight_is_submitted_at_once() -> None:
    bench = Bench(live=(False,))
    bench.most = 0  # the GPU does not get on at all
    bench.capture(0, 1)
    bench.run(until=lambda: bench.pipeline.in_flight == 1)
    bench.asleep = lambda: None if bench.pipeline.in_flight == 2 else bench.capture(0, 2)  # type: ignore[method-assign]
    bench.run(until=lambda: bench.pipeline.in_flight == 2)
    assert bench.results == []
    bench.most = 50
    bench.run(until=lambda: bench.pipeline.in_flight == 0)
    for _ in range(2):
        bench.publish()
    assert bench.results == [(0, 0), (0, 1)]
    bench.close()


def test_all_slots_are_filled_without_a_sleep_in_between() -> None:
    bench = Bench(live=(False,), slots=3)
    bench.most = 0
    for value in range(6):
        bench.capture(0, value)
    bench.run(until=lambda: bench.pipeline.in_flight == 3)
    assert bench.wake.timeouts == []
    bench.most = 50
    bench.run()
    bench.close()


def test_a_batch_that_ends_while_no_frame_comes_is_delivered_without_a_look() -> None:
    bench = Bench(live=(False,))
    bench.capture(0, 1)
    bench.run()
    assert bench.wake_publish.clear()
    assert bench.spaces[0].clear()
    # It slept while the GPU was busy, but never in vain when that was done.
    bench.publish()
    assert bench.results == [(0, 0)]
    bench.close()


def test_a_lost_gpu_is_noticed_although_it_wakes_nobody() -> None:
    bench = Bench(live=(False,))
    bench.capture(0, 1)
    bench.run(until=lambda: bench.pipeline.in_flight == 1)
    bench.most = 50
    bench.gpu.fail_at("run", 1, 700)
    with pytest.raises(GpuLostError):
        bench.run(turns=50)
    # With work in flight it looks ten times a second; a real GPU that is lost would cost it that, no more.
    assert all(timeout <= 0.1 for timeout in bench.wake.timeouts[-1:])
    bench.close()


@pytest.mark.parametrize("hangs", [True, False])
def test_draining_waits_for_what_is_in_flight_and_gives_up_on_a_gpu_that_hangs(hangs: bool) -> None:
    bench = Bench(live=(False,))
    bench.most = 0
    for value in range(4):
        bench.capture(0, value)
    bench.run(until=lambda: bench.pipeline.in_flight == 2)
    bench.gpu.stall(hangs)
    assert bench.loop.drain(0.05 if hangs else 10.0) is not hangs
    assert bench.pipeline.in_flight == (2 if hangs else 0)
    assert bench.tables[0].counts().in_flight == 4
    bench.gpu.stall(False)
    assert bench.loop.drain(10.0)
    for _ in range(2):
        bench.publish()
    assert bench.results == [(0, number) for number in range(4)]
    bench.close()
