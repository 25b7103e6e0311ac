# SPDX-License-Identifier: Apache-2.0
"""No result ever belongs to another frame: numbers drawn into frames, through the whole pipeline, and read again."""

from __future__ import annotations

import random
import time
from typing import NamedTuple

from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.records import Ready, TensorSpec
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.models import MOST, NUMBER_SIZE, draw, read
from tools.gpu.rig import Pipe

DIGITS = TensorSpec("digits", "float32", (6,))
_SOURCES = 3


class Outcome(NamedTuple):
    """What a run found: batches and frames checked, results that were another frame's, the first of those."""

    batches: int
    frames: int
    wrong: int
    first: str
    seconds: float
    graph_failures: int


class _Run:
    def __init__(self, pipe: Pipe, seed: int) -> None:
        self.pipe = pipe
        self.random = random.Random(seed)
        self.number = 0
        self.expected: dict[tuple[int, int], int] = {}
        self.waiting: list[tuple[int, Ready]] = []
        self.batches = self.frames = self.wrong = 0
        self.first = ""

    def capture(self) -> None:
        """Some frames of some sources; those of the last source come most often."""
        for source in range(_SOURCES):
            for _ in range(self.random.randint(0, 4 * (1 + source))):
                place = self.pipe.put(source)
                if place is None:
                    break
                slot, frame = place
                self.number = (self.number + 7919) % MOST
                draw(frame, self.number)
                self.expected[source, self.pipe.commit(source, slot)] = self.number

    def submit(self) -> bool:
        """A batch of any size; False where there is no room or no frame."""
        output = self.pipe.pipeline.output_slot()
        if output is None:
            return False
        # Small batches as often as large ones.
        most = min(self.pipe.options.max_batch, 2 ** self.random.randint(0, 6))
        wanted = self.random.randint(1, most)
        picks: list[tuple[int, Ready]] = []
        sources = list(range(_SOURCES))
        self.random.shuffle(sources)
        for source in sources:
            table = self.pipe.tables[source]
            picks += [(source, ready) for ready in table.take(table.ready()[: wanted - len(picks)])]
        if picks:
            self.pipe.pipeline.submit(output, picks, 1)
        return bool(picks)

    def publish(self) -> None:
        """Check and free what lies in the output ring."""
        outputs = self.pipe.outputs
        while (slot := outputs.oldest()) is not None:
            frames = outputs.frames(slot)
            numbers = read(self.pipe.tensors.outputs(slot, len(frames))["digits"]).tolist()
            for frame, both in zip(frames, numbers, strict=True):
                expected = self.expected.pop((frame.source, frame.frame_id), None)
                if both != [expected, expected]:
                    self.wrong += 1
                    self.first = self.first or f"batch {self.batches} of {len(frames)}: {frame}: {both}, not {expected}"
            self.batches += 1
            self.frames += len(frames)
            outputs.release(slot)


def check_numbers(
    gpu: Gpu, engine: Engine, options: GpuOptions, *, batches: int, limit_s: float = 120.0, seed: int = 1
) -> Outcome:
    """Put frames with numbers through the pipeline and hold each result against its own frame.

    Args:
        gpu: the device.
        engine: of the model that reads numbers.
        options: of the executor.
        batches: how many at least.
        limit_s: it ends after so long with what it has.
        seed: of sizes and sources.
    """
    begin = time.monotonic()
    slots = (options.slots + 1) * options.max_batch
    with Pipe(gpu, engine, [DIGITS], NUMBER_SIZE, options, sources=_SOURCES, ring_slots=slots) as pipe:
        failures = len(pipe.executor.graph_failures)
        run = _Run(pipe, seed)
        while run.batches < batches and time.monotonic() - begin < limit_s:
            run.capture()
            while run.submit():
                pass
            pipe.pipeline.deliver(0.0 if run.random.random() < 0.5 else 10.0)
            run.publish()
        while pipe.pipeline.in_flight:
            if pipe.pipeline.deliver(10.0) is None:
                run.wrong, run.first = run.wrong + 1, run.first or "a batch never ended"
                break
        run.publish()
        seconds = time.monotonic() - begin
        return Outcome(run.batches, run.frames, run.wrong, run.first, round(seconds, 2), failures)
