# SPDX-License-Identifier: Apache-2.0
"""The infer loop on real rings with a device that does what it is told; see ``stages/infer/test_loop.py``."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

from edged.records import FrameRecord, TensorSpec
from edged.shm.board import INFER_ROW, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.executor import Elapsed
from edged.stages.infer.loop import InferLoop
from edged.stages.infer.pipeline import SlotPipeline, Source
from support.manual_executor import ManualExecutor

HEIGHT, WIDTH = 2, 2
MAX_AGE_NS = 200_000_000


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
        lanes: int | None = None,
    ) -> None:
        self.device = ManualExecutor(slots, max_batch, Elapsed(0, 1000, 500))
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
            lanes=lanes,
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
