# SPDX-License-Identifier: Apache-2.0
"""The executor over TensorRT: slots that overlap copying in, computing and copying out.

Frames go by DMA from the rings where capture put them, and outputs by DMA into the ring where publish reads them. All
memory, contexts and graphs are made at load; a batch makes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import NamedTuple

from edged.errors import EngineError, InternalError
from edged.gpu.api import DeviceBuffer, Gpu, Stream
from edged.gpu.engines import Engine, Shape
from edged.gpu.errors import GpuLostError
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed
from edged.stages.infer.gpu_programs import graph_sizes
from edged.stages.infer.gpu_rings import PageLockedRings, RingMemory
from edged.stages.infer.gpu_slot import GpuSlot, SlotPlan, SlotStreams

_REBUILD = "build the engine again with edged-build-engine"


@dataclass(frozen=True)
class GpuOptions:
    """How to use the GPU.

    Attributes:
        slots: batches in flight; 2 is double-buffered.
        max_batch: frames of a batch at the most.
        io: ``auto``, ``copy``, ``mapped`` or ``staged``.
        graphs: record CUDA graphs for common batch sizes.
        contexts: compute streams that work side by side, each with activation memory of its own.
    """

    slots: int = 2
    max_batch: int = 8
    io: str = "auto"
    graphs: bool = True
    contexts: int = 1


class GpuFootprint(NamedTuple):
    """GPU memory of an executor by kind, in bytes; ``taken`` is what the device lacks since before the load."""

    weights: int
    activations: int
    buffers: int
    taken: int


class TensorRtExecutor:
    """Runs batches on the GPU; implements `edged.stages.infer.executor.Executor`.

    Args:
        gpu: opened by this thread.
        engine: the prepared graph's, with the input ``n×H×W×3`` uint8; stays the caller's to close, after this.
        outputs: the prepared graph's outputs in the order of the output ring.
        rings: all frame rings and the output ring, as mapped here.
        options: how.
        wake_fd: an eventfd to set whenever a batch is done, so that nobody needs to wait for a certain one; −1 for
            none. It is set by the driver: a GPU that is lost may never do so.

    Attributes:
        io: how data moves: ``copy``, ``mapped`` or ``staged``.
        footprint: GPU memory by kind.

    Raises:
        EngineError: the engine is not one of this graph, or takes no batch of that size.
        CudaError: out of memory, or anything else that the GPU refuses; nothing is left behind.
    """

    def __init__(
        self,
        gpu: Gpu,
        engine: Engine,
        outputs: Sequence[TensorSpec],
        rings: list[RingMemory],
        options: GpuOptions,
        *,
        wake_fd: int = -1,
    ) -> None:
        _check(engine, outputs, options.max_batch)
        self.slots = options.slots
        self.max_batch = options.max_batch
        self.io = options.io
        self._gpu = gpu
        self._stack = ExitStack()
        self._streams: list[Stream] = []
        self._wake_fd = wake_fd
        self._in_flight: set[int] = set()
        self._reached: set[int] = set()
        self._slots: list[GpuSlot] = []
        before = gpu.memory().free
        try:
            self._load(engine, tuple(outputs), rings, options)
            taken = before - gpu.memory().free
        except BaseException:
            self.close()
            raise
        self.footprint = GpuFootprint(
            weights=engine.info.plan_bytes,
            activations=self._activation_bytes,
            buffers=options.slots * (self._plan.input_bytes + sum(self._plan.output_bytes)),
            taken=taken,
        )

    def _load(
        self, engine: Engine, outputs: tuple[TensorSpec, ...], rings: list[RingMemory], options: GpuOptions
    ) -> None:
        gpu, stack = self._gpu, self._stack
        self._rings = stack.enter_context(closing(PageLockedRings(gpu, rings, options.io)))
        self._plan = SlotPlan(engine, outputs, options.max_batch, self._rings, self._wake_fd)
        copy_in, copy_out = self._stream("copy-in"), self._stream("copy-out")
        lanes = min(options.contexts, options.slots)
        compute = [self._stream(f"compute {lane}") for lane in range(lanes)]
        # Left to itself, every context would make its own: one for each slot and batch size.
        beside = range(engine.info.aux_streams)
        aux = [tuple(self._stream(f"compute {lane}, beside {number}") for number in beside) for lane in range(lanes)]
        need = max(engine.info.activation_bytes)
        self._activation_bytes = need * lanes
        # Runs of one stream never overlap, so its slots can share what is only used during a run.
        memories: list[DeviceBuffer | None] = [
            stack.enter_context(closing(gpu.device_buffer(f"activations {lane}", need))) if need else None
            for lane in range(lanes)
        ]
        for number in range(options.slots):
            lane = number % lanes
            streams = SlotStreams(copy_in, compute[lane], copy_out, aux[lane])
            slot = GpuSlot(gpu, f"slot {number}", self._plan, streams, memories[lane], stack)
            shapes = _graph_shapes(engine, options.max_batch) if options.graphs else []
            slot.programs.prepare(gpu, options.max_batch, shapes)
            self._slots.append(slot)
        self._stage()

    def _stream(self, name: str) -> Stream:
        stream = self._stack.enter_context(closing(self._gpu.stream(name)))
        self._streams.append(stream)
        return stream

    @property
    def io_refusal(self) -> str:
        """Why data is staged; empty where it is not."""
        return self._rings.refusal

    @property
    def graph_failures(self) -> list[str]:
        """Why some batch sizes run without a graph."""
        return [failure for slot in self._slots for failure in slot.programs.failures]

    def add_ring(self, ring: RingMemory) -> None:
        """Take frames from one more ring."""
        self._rings.add(ring)
        self._stage()

    def remove_ring(self, name: str) -> None:
        """Let go of a ring that no batch in flight uses."""
        self._rings.remove(name)

    def submit(self, slot: int, batch: BatchInput, output: BatchOutput) -> None:
        """Enqueue a batch; returns before it is done."""
        if slot in self._in_flight:
            raise InternalError(f"slot {slot} was given a batch before its last one was collected", where="infer")
        if len(batch.frames) > self.max_batch:
            raise InternalError(f"a batch of {len(batch.frames)} is more than {self.max_batch}", where="infer")
        self._slots[slot].submit(batch, output)
        self._in_flight.add(slot)

    def done(self, slot: int) -> bool:
        """Whether the slot's batch is done; never waits."""
        if slot in self._reached:
            return True
        if slot not in self._in_flight or not self._slots[slot].finished.done():
            return False
        self._reached.add(slot)
        return True

    def wait(self, slot: int, timeout_s: float) -> bool:
        """Wait until the slot's batch is done; False when the time ran out first."""
        if slot in self._reached:
            return True
        if slot not in self._in_flight or not self._slots[slot].finished.wait(timeout_s):
            return False
        self._reached.add(slot)
        return True

    def collect(self, slot: int) -> Elapsed:
        """End a batch that is done."""
        if slot not in self._reached and not self.done(slot):
            raise InternalError(f"slot {slot} has no batch that is done", where="infer")
        self._in_flight.discard(slot)
        self._reached.discard(slot)
        return self._slots[slot].collect()

    def close(self) -> None:
        """Wait for what is in flight and release everything."""
        try:
            for stream in self._streams:
                stream.synchronize()
        except GpuLostError:
            # Nothing runs any more; what was taken ends with the process.
            self._in_flight.clear()
            self._reached.clear()
        finally:
            self._streams.clear()
            self._stack.close()

    def _stage(self) -> None:
        self.io = self._rings.io
        if self.io == "staged":
            for slot in self._slots:
                slot.make_staging(self._gpu)


def _graph_shapes(engine: Engine, max_batch: int) -> list[Shape]:
    """Input shapes that get a graph: common batch sizes, if frames have one shape only."""
    (tensor,) = engine.info.inputs
    frames = {shape[1:] for span in tensor.ranges for shape in (span.smallest, span.largest)}
    if len(frames) != 1:
        return []
    (frame,) = frames
    return [
        (size, *frame)
        for size in graph_sizes(max_batch)
        if engine.info.narrowest_profile(tensor.name, (size, *frame)) is not None
    ]


def _check(engine: Engine, outputs: Sequence[TensorSpec], max_batch: int) -> None:
    info = engine.info
    problem = ""
    if len(info.inputs) != 1 or info.inputs[0].dtype != "uint8" or len(info.inputs[0].shape) != 4:
        problem = f"its inputs are {[(it.name, it.dtype, it.shape) for it in info.inputs]}, not uint8 frames"
    elif {(it.name, it.dtype) for it in info.outputs} != {(spec.name, spec.dtype) for spec in outputs}:
        problem = f"its outputs are {[(it.name, it.dtype) for it in info.outputs]}, not those of the model"
    elif not all(it.on_device for it in info.tensors):
        problem = "it wants tensors on the host"
    elif max(span.largest[0] for span in info.inputs[0].ranges) < max_batch:
        problem = f"it takes no batch of {max_batch}"
    if problem:
        raise EngineError(f"the engine does not fit: {problem}", where=engine.name, remedy=_REBUILD)
