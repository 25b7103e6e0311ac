# SPDX-License-Identifier: Apache-2.0
"""The whole way in the infer process on the accounting GPU: real rings, slot pipeline, TensorRT executor."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule
from numpy.typing import NDArray

from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import FrameRecord, Ready, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.shm.region import Region
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.pipeline import SlotPipeline, Source
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

HEIGHT, WIDTH = 2, 3
SPEC = TensorSpec("sum", "int64", (1,))


def sums(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
    frames = given["frames"]
    return {"sum": frames.reshape(len(frames), -1).sum(1, dtype=np.int64)[:, None]}


def memory(name: str, region: Region) -> RingMemory:
    return RingMemory(name, np.frombuffer(region.map, dtype=np.uint8).ctypes.data, region.size)


class Machine(RuleBasedStateMachine):
    """Frames of two sources: each result its own frame's, in order, under every schedule of the GPU."""

    @initialize(
        slots=st.integers(1, 3),
        max_batch=st.integers(1, 3),
        io=st.sampled_from(["copy", "staged", "mapped"]),
        graphs=st.booleans(),
        contexts=st.integers(1, 2),
    )
    def create(self, slots: int, max_batch: int, io: str, graphs: bool, contexts: int) -> None:
        self.tables = [FrameTable.create((slots + 1) * max_batch, HEIGHT * WIDTH * 3, live=False) for _ in range(2)]
        self.pixels = [FramePixels(table) for table in self.tables]
        self.outputs = OutputTable.create(OutputLayout(slots + 1, max_batch, (SPEC,)))
        rings = [memory(f"frames {index}", table.region) for index, table in enumerate(self.tables)]
        rings.append(memory("outputs", self.outputs.region))
        self.gpu = FakeGpu(integrated=io == "mapped")
        frame = (HEIGHT, WIDTH, 3)
        tensors = [
            TensorInfo("frames", True, "uint8", (-1, *frame), (batch_range((1, 2, 4), frame),)),
            TensorInfo("sum", False, "int64", (-1, 1)),
        ]
        self.engine = self.gpu.engine("sums", tensors, sums)
        options = GpuOptions(slots=slots, max_batch=max_batch, io=io, graphs=graphs, contexts=contexts)
        self.executor = TensorRtExecutor(self.gpu, self.engine, [SPEC], rings, options)
        sources = [Source(table, pixels, -1) for table, pixels in zip(self.tables, self.pixels, strict=True)]
        self.pipeline = SlotPipeline(self.executor, sources, self.outputs)
        self.submitted: list[list[tuple[int, int]]] = []
        self.expected: dict[tuple[int, int], int] = {}

    @rule(source=st.integers(0, 1), value=st.integers(0, 255), count=st.integers(1, 3))
    def capture(self, source: int, value: int, count: int) -> None:
        for number in range(count):
            slot = self.tables[source].acquire()
            if slot is None:
                return
            frame = self.pixels[source].frame(slot, HEIGHT, WIDTH)
            frame[...] = (value + 17 * number) % 256
            record = FrameRecord(source, 0, 1, 2, 9, 9, WIDTH, HEIGHT)
            self.expected[source, self.tables[source].commit(slot, record, 0)] = int(frame.sum())

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

    @rule(steps=st.integers(1, 6), picks=st.lists(st.integers(0, 5), min_size=6, max_size=6))
    def advance(self, steps: int, picks: list[int]) -> None:
        left = iter(picks)
        self.gpu.advance(steps, lambda able: next(left) % able)

    @rule(wait=st.booleans())
    def deliver(self, wait: bool) -> None:
        delivered = self.pipeline.deliver(1.0 if wait else 0.0)
        assert delivered is not None or not (wait and self.pipeline.in_flight)

    @rule()
    def publish(self) -> None:
        slot = self.outputs.oldest()
        if slot is None:
            return
        frames = self.outputs.frames(slot)
        keys = [(frame.source, frame.frame_id) for frame in frames]
        assert keys == self.submitted.pop(0)
        values = OutputTensors(self.outputs).outputs(slot, len(frames))["sum"][:, 0].tolist()
        assert values == [self.expected.pop(key) for key in keys]
        self.outputs.release(slot)
        for frame in frames:
            self.tables[frame.source].settle(frame.frame_id, published=True)

    def teardown(self) -> None:
        if not hasattr(self, "executor"):
            return
        while self.pipeline.deliver(1.0) is not None:
            self.publish()
        while self.submitted:
            self.publish()
        self.executor.close()
        self.engine.close()
        assert self.gpu.close() == ()
        del self.pixels, self.pipeline, self.executor, self.gpu, self.engine
        for table in self.tables:
            table.close()
        self.outputs.close()


TestPipeline = Machine.TestCase
TestPipeline.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
