# SPDX-License-Identifier: Apache-2.0
"""The slot pipeline over rings that were filled beforehand: the infer process without capture and publish."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np

from edged.errors import InternalError
from edged.records import FrameRecord, Ready, TensorSpec
from edged.rig.rounds import DEADLINE_S, Stop, Turn
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels
from edged.stages.infer.executor import Executor
from edged.stages.infer.pipeline import SlotPipeline, Source


class Rings(NamedTuple):
    """The memory that an executor works on: one frame ring, one output ring."""

    frames: FrameTable
    outputs: OutputTable


class Opened(NamedTuple):
    """An executor over rings.

    Attributes:
        executor: ready to run.
        asynchronous: whether submitting returns before the batch is done.
        close: ends it.
    """

    executor: Executor
    asynchronous: bool
    close: Callable[[], None]


class Pipe:
    """Frame ring, output ring, executor and slot pipeline, as the infer process has them.

    The ring is a lossless source's: so many frames that every slot holds a batch and one more is filled.

    Args:
        outputs: of the prepared graph.
        frame: height, width of a frame, pixels.
        slots: batches under way at a time.
        max_batch: frames of a batch at the most.
        open_executor: makes the executor over the rings; where it raises, they are closed again.
    """

    def __init__(
        self,
        outputs: Sequence[TensorSpec],
        frame: tuple[int, int],
        slots: int,
        max_batch: int,
        open_executor: Callable[[Rings], Opened],
    ) -> None:
        self.slots = slots
        height, width = frame
        with ExitStack() as made:
            table = FrameTable.create((slots + 1) * max_batch, height * width * 3, live=False)
            made.callback(table.close)
            self.rings = Rings(table, OutputTable.create(OutputLayout(slots + 2, max_batch, tuple(outputs))))
            made.callback(self.rings.outputs.close)
            self._pixels = FramePixels(table)
            made.callback(self._forget_pixels)
            self.frames = self._fill(frame)
            self.opened = open_executor(self.rings)
            made.callback(self.opened.close)
            self.pipeline = SlotPipeline(self.opened.executor, [Source(table, self._pixels, -1)], self.rings.outputs)
            self._made = made.pop_all()

    def _fill(self, frame: tuple[int, int]) -> list[Ready]:
        """Fill the ring with noise; its frames may be submitted again and again."""
        height, width = frame
        rng, table = np.random.default_rng(0), self.rings.frames
        record = FrameRecord(0, 0, 1, 1, width, height, width, height)
        for _ in range(table.layout.slots):
            slot = table.acquire()
            if slot is None:
                raise InternalError("a new ring has no free slot", where="bench")
            self._pixels.frame(slot, height, width)[...] = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
            table.commit(slot, record, 1)
        return table.ready()

    def _forget_pixels(self) -> None:
        """Let the ring's mapping go with the ring: it cannot while there are views of it."""
        del self._pixels

    def close(self) -> None:
        """End everything, the executor first."""
        with self._made:
            del self.pipeline


class Pumped:
    """Batches of frames that lie ready, through the pipeline and out of the output ring.

    Args:
        pipe: shared by ways that take turns.
        batch: frames of a batch.
        under_way: batches submitted at a time; None for as many as there are slots.
    """

    profile: int | None = None

    def __init__(self, pipe: Pipe, batch: int, under_way: int | None = None) -> None:
        self.batch = batch
        self._pipe = pipe
        self._under_way = under_way or pipe.slots
        self._groups: list[list[tuple[int, Ready]]] = [
            [(0, ready) for ready in pipe.frames[first : first + batch]]
            for first in range(0, len(pipe.frames) - batch + 1, batch)
        ]
        self._next = 0

    def run(self, seconds: float, stop: Stop) -> Turn:
        """Keep the slots busy for a time, then empty them."""
        turn, pipeline = Turn(), self._pipe.pipeline
        submitted, begin = 0, time.perf_counter()
        end = begin + seconds
        while True:
            more = submitted == 0 or (time.perf_counter() < end and not stop())
            output = pipeline.output_slot() if more and pipeline.in_flight < self._under_way else None
            if output is not None:
                self._submit(output, turn)
                submitted += 1
            elif pipeline.in_flight:
                self._deliver(turn)
            else:
                break
        turn.batches, turn.seconds = submitted, time.perf_counter() - begin
        return turn

    def _submit(self, output: int, turn: Turn) -> None:
        group = self._groups[self._next % len(self._groups)]
        self._next += 1
        before = time.thread_time_ns()
        self._pipe.pipeline.submit(output, group, time.monotonic_ns())
        if self._pipe.opened.asynchronous:
            turn.note("submit", (time.thread_time_ns() - before) / 1e6)

    def _deliver(self, turn: Turn) -> None:
        # The thread's CPU time: waiting for the device is not the host's work.
        before = time.thread_time_ns()
        delivered = self._pipe.pipeline.deliver(DEADLINE_S)
        if delivered is None:
            raise InternalError(f"a batch was not done within {DEADLINE_S:g} s", where="bench")
        turn.note("deliver", (time.thread_time_ns() - before) / 1e6)
        turn.note("copy", delivered.elapsed.copy_ns / 1e6)
        turn.note("infer", delivered.elapsed.infer_ns / 1e6)
        turn.latencies_ms.append(delivered.took_ns / 1e6)
        outputs = self._pipe.rings.outputs
        slot = outputs.oldest()
        if slot is None:
            raise InternalError("a batch was delivered and is not in the output ring", where="bench")
        outputs.release(slot)
