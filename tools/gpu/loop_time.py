# SPDX-License-Identifier: Apache-2.0
"""What a turn of the infer loop costs the host: real rings, other processes that fill and empty them, the real loop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.records import TensorSpec
from edged.shm.board import INFER_ROW, INFER_STAGES, Board
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.collate.policy import Collator, SourcePolicy
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.loop import InferLoop
from edged.stages.infer.pipeline import SlotPipeline, Source
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

_RING_SLOTS = 4
_DELAY_NS = 20_000_000
_DEADLINE_S = 60.0
_WARM_UP = 50


class Measured(NamedTuple):
    """What to measure with.

    Attributes:
        gpu: the device.
        engine: loaded; takes batches of ``sources``.
        outputs: of the prepared graph.
        size: height, width of a frame.
        sources: frame rings, each with a frame in every batch.
        feeders: processes that fill them.
        busy: processes that only compute.
    """

    gpu: Gpu
    engine: Engine
    outputs: Sequence[TensorSpec]
    size: tuple[int, int]
    sources: int = 8
    feeders: int = 8
    busy: int = 0


class Timed:
    """An executor that notes how long the host is in `submit` and `collect` of each batch."""

    def __init__(self, executor: TensorRtExecutor) -> None:
        self._executor = executor
        self.slots, self.max_batch, self.io = executor.slots, executor.max_batch, executor.io
        self.done, self.wait, self.close = executor.done, executor.wait, executor.close
        self.taken: list[int] = []
        self.frames: list[int] = []
        self._submitted: dict[int, int] = {}

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        """As the executor's."""
        begin = time.perf_counter_ns()
        self._executor.submit(slot, batch, output)
        self._submitted[slot] = time.perf_counter_ns() - begin
        self.frames.append(len(batch.frames))

    def collect(self, slot: int) -> Elapsed:
        """As the executor's."""
        begin = time.perf_counter_ns()
        elapsed = self._executor.collect(slot)
        self.taken.append(time.perf_counter_ns() - begin + self._submitted.pop(slot))
        return elapsed


class TurnWake(Wake):
    """A wake-up that notes how long the loop is at work between its waits, shared out among the batches of that time.

    Args:
        batches: how many were submitted so far.
        idle: called before each wait; for a GPU that works only when it is told to.
    """

    def __init__(self, batches: Callable[[], int], idle: Callable[[], object]) -> None:
        super().__init__()
        self._batches, self._idle = batches, idle
        self._seen = self._spent = self._left = 0
        self.turns: list[float] = []

    def wait(self, timeout_s: float) -> bool:
        """As a wake-up's."""
        if self._left:
            self._spent += time.perf_counter_ns() - self._left
        submitted = self._batches() - self._seen
        if submitted:
            self.turns += [self._spent / submitted] * submitted
            self._spent, self._seen = 0, self._seen + submitted
        self._idle()
        woken = super().wait(timeout_s)
        self._left = time.perf_counter_ns()
        return woken


class _Rig:
    """Rings, wake-ups and executor, and the processes around them."""

    def __init__(self, measured: Measured, idle: Callable[[], object], stack: ExitStack) -> None:
        count, size = measured.sources, measured.size
        self.tables = [FrameTable.create(_RING_SLOTS, size[0] * size[1] * 3, live=False) for _ in range(count)]
        self.pixels = [FramePixels(table) for table in self.tables]
        options = GpuOptions(slots=2, max_batch=count)
        self.layout = OutputLayout(options.slots + 2, count, tuple(measured.outputs))
        self.outputs, self.board = OutputTable.create(self.layout), Board.create(INFER_ROW + 1)
        for close in (*(table.close for table in self.tables), self.outputs.close, self.board.close):
            stack.callback(_end, close)
        # After this everything that holds views of the rings is gone.
        stack.callback(self._drop)
        for table, pixels in zip(self.tables, self.pixels, strict=True):
            noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
            for slot in range(table.layout.slots):
                pixels.frame(slot, *size)[...] = noise
        self.wake = stack.enter_context(closing(TurnWake(lambda: len(self.timed.frames), idle)))
        self.wake_publish = stack.enter_context(closing(Wake()))
        self.spaces = [stack.enter_context(closing(Wake())) for _ in self.tables]
        rings = [_memory(f"frames {number}", table.region) for number, table in enumerate(self.tables)]
        rings.append(_memory("outputs", self.outputs.region))
        executor = TensorRtExecutor(
            measured.gpu, measured.engine, measured.outputs, rings, options, wake_fd=self.wake.fd
        )
        stack.callback(executor.close)
        self.timed = Timed(executor)
        self.loop = self._loop(measured)

    def _loop(self, measured: Measured) -> InferLoop:
        fds = (wake.fd for wake in self.spaces)
        sources = [Source(*each) for each in zip(self.tables, self.pixels, fds, strict=True)]
        return InferLoop(
            SlotPipeline(self.timed, sources, self.outputs),
            sources,
            Collator([SourcePolicy() for _ in sources], measured.sources, _DELAY_NS).decide,
            wake=self.wake,
            wake_publish=self.wake_publish,
            row=self.board.row(INFER_ROW),
            announced=True,
        )

    def start(self, measured: Measured, stack: ExitStack) -> None:
        """Start the other processes."""
        pairs = [(table.region.fd, space.fd) for table, space in zip(self.tables, self.spaces, strict=True)]
        for number in range(measured.feeders):
            own = pairs[number :: measured.feeders]
            told = {"rings": own, "wake": self.wake.fd, "size": measured.size}
            fds = [self.wake.fd, *(fd for pair in own for fd in pair)]
            stack.enter_context(_process("capture", told, fds))
        fds = [self.outputs.region.fd, self.wake_publish.fd, self.wake.fd]
        layout = (self.layout.slots, self.layout.max_batch, self.layout.tensors)
        told = {"ring": fds[0], "wake": fds[1], "infer": fds[2], "layout": layout}
        stack.enter_context(_process("publish", told, fds))
        for _ in range(measured.busy):
            stack.enter_context(_process("busy", {}, ()))

    def _drop(self) -> None:
        del self.loop, self.timed
        self.pixels.clear()


def loop_time(measured: Measured, batches: int, idle: Callable[[], object] = lambda: None) -> dict[str, Any]:
    """Microseconds of host time for a batch with a frame of each source.

    Returns:
        ``loop_us`` and ``loop_p99_us``: all that the loop does for a batch, between its waits. ``cpu_us``: the same in
        CPU time, waits included. ``executor_us`` …: the executor's part. ``stages_us``: the loop's own accounts, means.
        ``batch``: mean frames of a batch, ``batches_per_s``.
    """
    with ExitStack() as stack:
        rig = _Rig(measured, idle, stack)
        rig.start(measured, stack)
        _run(rig, _WARM_UP)
        skipped, begin, cpu = len(rig.timed.frames), time.perf_counter(), time.thread_time()
        turns, taken = len(rig.wake.turns), len(rig.timed.taken)
        before = rig.board.row(INFER_ROW).times(INFER_STAGES)
        _run(rig, skipped + batches)
        seconds, cpu = time.perf_counter() - begin, time.thread_time() - cpu
        after = rig.board.row(INFER_ROW).times(INFER_STAGES)
        rig.loop.drain(10.0)
        frames = rig.timed.frames[skipped:]
        loop, executor = rig.wake.turns[turns:], rig.timed.taken[taken:]
        stages = {name: after[name].wall_ns - before[name].wall_ns for name in ("collate", "submit", "deliver")}
        return {
            "loop_us": _us(median(loop)),
            "loop_p99_us": _us(float(np.percentile(loop, 99))),
            "cpu_us": _us(cpu * 1e9 / len(frames)),
            "executor_us": _us(median(executor)),
            "executor_p99_us": _us(float(np.percentile(executor, 99))),
            "stages_us": {name: _us(spent / len(frames)) for name, spent in stages.items()},
            "batch": round(sum(frames) / len(frames), 2),
            "batches_per_s": round(len(frames) / seconds),
            "busy": measured.busy,
        }


def machine_costs(rounds: int = 20_000) -> dict[str, float]:
    """Microseconds of what the loop asks of this machine's kernel: a lock of a ring, a CPU clock, setting a wake-up."""
    table = FrameTable.create(4, 4096, live=False)
    wake = Wake()
    calls: dict[str, Callable[[], object]] = {
        "lock": lambda: table.release([]),
        "cpu_clock": time.thread_time_ns,
        "wall_clock": time.monotonic_ns,
        "wake": wake.set,
    }
    costs = {}
    for name, call in calls.items():
        begin = time.perf_counter_ns()
        for _ in range(rounds):
            call()
        costs[name] = round((time.perf_counter_ns() - begin) / rounds / 1e3, 3)
    wake.close()
    table.close()
    return costs


def _run(rig: _Rig, batches: int) -> None:
    end = time.monotonic() + _DEADLINE_S

    def should_stop() -> bool:
        if time.monotonic() > end:
            raise AssertionError(f"only {len(rig.timed.frames)} of {batches} batches within {_DEADLINE_S:g} s")
        return len(rig.timed.frames) >= batches

    rig.loop.run(should_stop)


@contextmanager
def _process(part: str, told: dict[str, Any], fds: Sequence[int]) -> Iterator[None]:
    arguments = [sys.executable, "-m", "tools.gpu.feeder", part, json.dumps(told), str(os.getpid())]
    process = subprocess.Popen(arguments, pass_fds=fds)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


def _memory(name: str, region: Region) -> RingMemory:
    return RingMemory(name, np.frombuffer(region.map, dtype=np.uint8).ctypes.data, region.size)


def _end(close: Callable[[], None]) -> None:
    try:
        close()
    except BufferError:  # views of it are alive in a traceback; it ends with the process
        return


def _us(nanoseconds: float) -> float:
    return round(nanoseconds / 1e3, 1)
