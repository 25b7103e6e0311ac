# SPDX-License-Identifier: Apache-2.0
"""The slot pipeline over an executor that finishes when it is told to, in any order."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from support.manual_executor import ManualExecutor
from support.pipeline_machine import HEIGHT, WIDTH, PipelineMachine

from edged.records import FrameRecord
from edged.shm.frame_table import FrameTable
from edged.shm.pixels import FramePixels, OutputTensors


class Machine(PipelineMachine):
    """Frames of two sources through a pipeline: results in order, each frame once, no slot reused too early."""

    @initialize(slots=st.integers(1, 3), max_batch=st.integers(1, 3))
    def create(self, slots: int, max_batch: int) -> None:
        self.executor = ManualExecutor(slots, max_batch)
        self.make_rings(slots, max_batch)
        self.connect(self.executor)
        self.published: list[tuple[int, int]] = []

    def teardown(self) -> None:
        if hasattr(self, "tables"):
            self.close_rings()

    @rule(source=st.integers(0, 1), value=st.integers(0, 255))
    def capture(self, source: int, value: int) -> None:
        slot = self.tables[source].acquire()
        if slot is not None:
            self.pixels[source].frame(slot, HEIGHT, WIDTH)[...] = value
            record = FrameRecord(source, 0, 1, 2, 9, 9, WIDTH, HEIGHT)
            frame_id = self.tables[source].commit(slot, record, 0)
            self.expected[source, frame_id] = value * HEIGHT * WIDTH * 3

    @rule(choice=st.integers(0, 5))
    def finish(self, choice: int) -> None:
        waiting = self.executor.unfinished()
        if waiting:
            self.executor.finish_one(waiting[choice % len(waiting)])

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
