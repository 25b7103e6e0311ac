# SPDX-License-Identifier: Apache-2.0
"""The slot pipeline over an executor that finishes when it is told to, in any order."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edged.records import FrameRecord, Ready, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed
from edged.stages.infer.pipeline import SlotPipeline, Source

HEIGHT, WIDTH = 2, 3


class ManualExecutor:
    """Sums each frame's bytes once it is allowed to; checks that slots and buffers are used as promised."""

    def __init__(self, slots: int, max_batch: int) -> None:
        self.slots, self.max_batch, self.io = slots, max_batch, "manual"
        self.running: dict[int, tuple[BatchInput, BatchOutput, list[int]]] = {}
        self.finished: set[int] = set()

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        assert slot not in self.running, "a slot was used twice"
        assert 1 <= len(batch.frames) <= self.max_batch
        sums = [int(frame.sum()) for frame in batch.frames]
        if batch.contiguous is not None:
            assert [int(frame.sum()) for frame in batch.contiguous] == sums
        self.running[slot] = (batch, output, sums)

    def finish(self, slot: int) -> None:
        batch, output, sums = self.running[slot]
        # Nobody may have written into the frames meanwhile.
        assert [int(frame.sum()) for frame in batch.frames] == sums
        output.view(0)[:, 0] = sums
        self.finished.add(slot)

    def done(self, slot: int) -> bool:
        return slot in self.finished

    def wait(self, slot: int, timeout_s: float) -> bool:
        return slot in self.finished

    def collect(self, slot: int) -> Elapsed:
        self.finished.remove(slot)
        del self.running[slot]
        return Elapsed(1, 2)

    def close(self) -> None:
        assert not self.running


class Machine(RuleBasedStateMachine):
    """Frames of two sources through a pipeline: results in order, each frame once, no slot reused too early."""

    @initialize(slots=st.integers(1, 3), max_batch=st.integers(1, 3))
    def create(self, slots: int, max_batch: int) -> None:
        self.executor = ManualExecutor(slots, max_batch)
        self.tables = [FrameTable.create((slots + 1) * max_batch, HEIGHT * WIDTH * 3, live=False) for _ in range(2)]
        self.pixels = [FramePixels(table) for table in self.tables]
        layout = OutputLayout(slots + 1, max_batch, (TensorSpec("sum", "int64", (1,)),))
        self.outputs = OutputTable.create(layout)
        sources = [Source(table, pixels, -1) for table, pixels in zip(self.tables, self.pixels, strict=True)]
        self.pipeline = SlotPipeline(self.executor, sources, self.outputs)
        self.submitted: list[list[tuple[int, int]]] = []
        self.expected: dict[tuple[int, int], int] = {}
        self.published: list[tuple[int, int]] = []

    def teardown(self) -> None:
        if hasattr(self, "tables"):
            del self.pixels, self.pipeline
            for table in self.tables:
                table.close()
            self.outputs.close()

    @rule(source=st.integers(0, 1), value=st.integers(0, 255))
    def capture(self, source: int, value: int) -> None:
        slot = self.tables[source].acquire()
        if slot is not None:
            self.pixels[source].frame(slot, HEIGHT, WIDTH)[...] = value
            record = FrameRecord(source, 0, 1, 2, 9, 9, WIDTH, HEIGHT)
            frame_id = self.tables[source].commit(slot, record, 0)
            self.expected[source, frame_id] = value * HEIGHT * WIDTH * 3

    @rule(first=st.integers(0, 1))
    def submit(self, first: int) -> None:
        output = self.pipeline.output_slot()
        if output is None:
            return
        picks: list[tuple[int, Ready]] = []
        for source in (first, 1 - first):
            room = self.executor.max_batch - len(picks)
            picks += [(source, frame) for frame in self.tables[source].take(self.tables[source].ready()[:room])]
        if picks:
            self.pipeline.submit(output, picks, 5)
            self.submitted.append([(source, frame.frame_id) for source, frame in picks])

    @rule(choice=st.integers(0, 5))
    def finish(self, choice: int) -> None:
        waiting = sorted(set(self.executor.running) - self.executor.finished)
        if waiting:
            self.executor.finish(waiting[choice % len(waiting)])

    @rule()
    def deliver(self) -> None:
        self.pipeline.deliver()

    @rule()
    def publish(self) -> None:
        slot = self.outputs.oldest()
        if slot is None:
            return
        frames = self.outputs.frames(slot)
        sums = OutputTensors(self.outputs).outputs(slot, len(frames))["sum"]
        for place, frame in enumerate(frames):
            key = (frame.source, frame.frame_id)
            assert int(sums[place, 0]) == self.expected[key]
            self.published.append(key)
        self.outputs.release(slot)

    @invariant()
    def in_order_and_once(self) -> None:
        if hasattr(self, "tables"):
            flat = [key for batch in self.submitted for key in batch]
            assert self.published == flat[: len(self.published)]
            assert self.pipeline.in_flight == len(self.executor.running) <= self.executor.slots


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
TestPipeline = Machine.TestCase


@pytest.fixture
def ring() -> Iterator[tuple[FrameTable, FramePixels]]:
    table = FrameTable.create(4, HEIGHT * WIDTH * 3, live=False)
    yield table, FramePixels(table)
    table.close()


def test_side_by_side_slots_are_one_batch_in_place(ring: tuple[FrameTable, FramePixels]) -> None:
    _, pixels = ring
    batch = pixels.batch([1, 2], HEIGHT, WIDTH)
    assert batch is not None
    assert np.shares_memory(batch[1], pixels.frame(2, HEIGHT, WIDTH))
    assert pixels.batch([3, 0], HEIGHT, WIDTH) is None
    assert pixels.batch([0, 2], HEIGHT, WIDTH) is None
    assert pixels.batch([0, 1], 1, WIDTH) is None  # smaller frames leave gaps
