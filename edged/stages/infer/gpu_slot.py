# SPDX-License-Identifier: Apache-2.0
"""One slot of the GPU pipeline: its own buffers, events and programs, and a batch's way through them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.gpu.api import DeviceBuffer, Gpu, HostBuffer, Stream
from edged.gpu.engines import ALIGNMENT, Engine, Shape
from edged.gpu.errors import EngineRunError
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput, BatchOutput, Elapsed
from edged.stages.infer.gpu_programs import Program, Programs
from edged.stages.infer.gpu_rings import PageLockedRings

_NS_IN_MS = 1_000_000


class SlotStreams(NamedTuple):
    """Streams that a slot uses; those for copies are shared by all slots, a compute stream may be.

    Attributes:
        copy_in: for frames.
        compute: for the engine's runs.
        copy_out: for outputs.
        aux: for the engine's work beside its main stream; they go with the compute stream.
    """

    copy_in: Stream
    compute: Stream
    copy_out: Stream
    aux: tuple[Stream, ...] = ()


class SlotPlan(NamedTuple):
    """What all slots have in common.

    Attributes:
        engine: with one input.
        outputs: the prepared graph's outputs in their order.
        max_batch: frames of a batch at the most.
        rings: page-locked, or not.
        wake_fd: an eventfd to set whenever a batch is done; −1 for none.
    """

    engine: Engine
    outputs: tuple[TensorSpec, ...]
    max_batch: int
    rings: PageLockedRings
    wake_fd: int = -1

    @property
    def input_bytes(self) -> int:
        """Bytes of the largest batch of frames."""
        (tensor,) = self.engine.info.inputs
        return self.max_batch * max(prod(span.largest[1:]) for span in tensor.ranges)

    @property
    def output_bytes(self) -> list[int]:
        """Bytes of each output of the largest batch."""
        return [self.max_batch * prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in self.outputs]


def address_of(array: NDArray[np.generic]) -> int:
    """Where an array's data starts (a quarter of the time that ``ctypes.data`` takes)."""
    return int(array.__array_interface__["data"][0])


def side_by_side(addresses: Sequence[int], size: int) -> list[tuple[int, int]]:
    """Frames of ``size`` bytes as pieces (address, bytes), each as long as frames follow one another in memory."""
    pieces = []
    start = end = addresses[0]
    for address in addresses:
        if address != end:
            pieces.append((start, end - start))
            start = address
        end = address + size
    pieces.append((start, end - start))
    return pieces


class GpuSlot:
    """Takes one batch at a time: frames in, engine, outputs out, each in a stream of its own.

    A new batch may be submitted only after `collect`: then the host knows that all three are done with the last one.

    Args:
        gpu: the device.
        name: for messages.
        plan: what all slots have in common.
        streams: to work in.
        activations: memory for the contexts; None for each its own.
        stack: closes everything.
    """

    def __init__(
        self,
        gpu: Gpu,
        name: str,
        plan: SlotPlan,
        streams: SlotStreams,
        activations: DeviceBuffer | None,
        stack: ExitStack,
    ) -> None:
        self._name = name
        self._plan = plan
        self._streams = streams
        self._stack = stack
        self._input = stack.enter_context(closing(gpu.device_buffer(f"{name} input", plan.input_bytes)))
        self._outputs = [
            stack.enter_context(closing(gpu.device_buffer(f"{name} output {spec.name}", size)))
            for spec, size in zip(plan.outputs, plan.output_bytes, strict=True)
        ]
        self._staged_input: HostBuffer | None = None
        self._staged_outputs: list[HostBuffer] = []
        (tensor,) = plan.engine.info.inputs
        bindings = {tensor.name: self._input.address}
        bindings |= {spec.name: it.address for spec, it in zip(plan.outputs, self._outputs, strict=True)}
        self.programs = Programs(name, plan.engine, streams.compute, activations, bindings, stack, streams.aux)
        self._begun, self._uploaded, self._started, self._computed = (
            stack.enter_context(closing(gpu.event(f"{name} {point}", timing=True)))
            for point in ("begun", "uploaded", "started", "computed")
        )
        finished = gpu.event(f"{name} finished", timed=True, wake_fd=plan.wake_fd)
        self.finished = stack.enter_context(closing(finished))
        self._unstage: list[tuple[NDArray[np.generic], NDArray[np.uint8]]] = []
        self._copied = False

    def make_staging(self, gpu: Gpu) -> None:
        """Take the buffers that stand in where the rings are not page-locked."""
        if self._staged_input is None:
            plan, stack = self._plan, self._stack
            self._staged_outputs = [
                stack.enter_context(closing(gpu.host_buffer(f"{self._name} staged {spec.name}", size)))
                for spec, size in zip(plan.outputs, plan.output_bytes, strict=True)
            ]
            frames = gpu.host_buffer(f"{self._name} staged input", plan.input_bytes)
            self._staged_input = stack.enter_context(closing(frames))

    def submit(self, batch: BatchInput, output: BatchOutput) -> None:
        """Enqueue a batch; frames and output belong to the GPU until `collect`."""
        count = len(batch.frames)
        shape = (count, *batch.frames[0].shape)
        compute = self._streams.compute
        program = self._in_place(batch, shape)
        self._copied = program is None
        if program is None:
            program = self.programs.program(shape)
            self._copy_in(batch)
            compute.wait(self._uploaded)
        self._started.record(compute)
        program.run(compute)
        self._computed.record(compute)
        self._streams.copy_out.wait(self._computed)
        self._copy_out(program, count, output)
        self.finished.record(self._streams.copy_out)

    def collect(self) -> Elapsed:
        """End a batch whose event `finished` is reached."""
        for view, staged in self._unstage:
            view[...] = staged.view(view.dtype).reshape(view.shape)
        self._unstage.clear()
        copied = self._uploaded.since(self._begun) if self._copied else 0.0
        return Elapsed(int(copied * _NS_IN_MS), int(self._computed.since(self._started) * _NS_IN_MS))

    def _in_place(self, batch: BatchInput, shape: Shape) -> Program | None:
        """How to run frames where they lie in a mapped ring; None where they have to be copied."""
        if self._plan.rings.io != "mapped" or batch.contiguous is None:
            return None
        address = self._plan.rings.device_address(address_of(batch.contiguous))
        return None if address % ALIGNMENT else self.programs.exact(shape, address)

    def _copy_in(self, batch: BatchInput) -> None:
        stream, target = self._streams.copy_in, self._input
        self._begun.record(stream)
        if self._plan.rings.io == "staged":
            staged = self._staged()
            size = batch.frames[0].nbytes
            for place, frame in enumerate(batch.frames):
                staged.array[place * size : (place + 1) * size].reshape(frame.shape)[...] = frame
            stream.copy_in(target, 0, staged.address, len(batch.frames) * size)
        else:
            whole, addresses = batch.contiguous, batch.addresses
            if whole is not None:
                stream.copy_in(target, 0, addresses[0] if addresses else address_of(whole), whole.nbytes)
            else:
                addresses = addresses or [address_of(frame) for frame in batch.frames]
                stream.copy_in_pieces(target, side_by_side(addresses, batch.frames[0].nbytes))
        self._uploaded.record(stream)

    def _staged(self) -> HostBuffer:
        if self._staged_input is None:
            raise EngineRunError("its rings are not page-locked and it has no buffers instead", where=self._name)
        return self._staged_input

    def _copy_out(self, program: Program, count: int, output: BatchOutput) -> None:
        stream, staged = self._streams.copy_out, self._plan.rings.io == "staged"
        for index, (spec, buffer) in enumerate(zip(self._plan.outputs, self._outputs, strict=True)):
            if spec.fixed:
                view = output.view(index)
            else:
                shape = program.context.shape(spec.name)[1:]
                if count * prod(shape) * np.dtype(spec.dtype).itemsize > buffer.size:
                    raise EngineRunError(
                        f"output {spec.name} came as {shape}, more than {spec.shape}", where=self._name
                    )
                output.set_shape(index, shape)
                view = output.view(index, shape)
            if staged:
                target = self._staged_outputs[index]
                stream.copy_out(target.address, buffer, 0, view.nbytes)
                self._unstage.append((view, target.array[: view.nbytes]))
            else:
                stream.copy_out(address_of(view), buffer, 0, view.nbytes)
