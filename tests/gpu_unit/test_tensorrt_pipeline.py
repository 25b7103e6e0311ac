# SPDX-License-Identifier: Apache-2.0
"""The whole way in the infer process on the accounting GPU: real rings, slot pipeline, TensorRT executor."""

from __future__ import annotations

from gpu_unit.sum_rig import memory, sum_engine
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule
from support.pipeline_machine import HEIGHT, SUM, WIDTH, PipelineMachine

from edged.gpu.fake import FakeGpu
from edged.records import FrameRecord
from edged.shm.pixels import OutputTensors
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor


class Machine(PipelineMachine):
    """Frames of two sources: each result its own frame's, in order, under every schedule of the GPU."""

    @initialize(
        slots=st.integers(1, 3),
        max_batch=st.integers(1, 3),
        io=st.sampled_from(["copy", "staged", "mapped"]),
        graphs=st.booleans(),
        contexts=st.integers(1, 2),
    )
    def create(self, slots: int, max_batch: int, io: str, graphs: bool, contexts: int) -> None:
        self.make_rings(slots, max_batch)
        rings = [memory(f"frames {index}", table.region) for index, table in enumerate(self.tables)]
        rings.append(memory("outputs", self.outputs.region))
        self.gpu = FakeGpu(integrated=io == "mapped")
        self.engine = sum_engine(self.gpu, (1, 2, 4))
        options = GpuOptions(slots=slots, max_batch=max_batch, io=io, graphs=graphs, contexts=contexts)
        self.executor = TensorRtExecutor(self.gpu, self.engine, [SUM], rings, options)
        self.connect(self.executor)

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
        del self.executor, self.gpu, self.engine
        self.close_rings()


TestPipeline = Machine.TestCase
TestPipeline.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
