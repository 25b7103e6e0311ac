# SPDX-License-Identifier: Apache-2.0
"""One slot of the GPU pipeline: its own buffers, events and programs, and a batch's way through them."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
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

_NS = 1_000_000


class SlotStreams(NamedTuple):
    """Streams that a slot uses; copies are shared by all slots, compute streams may be."""

    copy_in: Stream
    compute: Stream
    copy_out: Stream


def address_of(array: NDArray[np.generic]) -> int:
    """Where an array's data starts."""
    return int(array.__array_interface__["data"][0])


class GpuSlot:
    """Takes one batch at a time: frames in, engine, outputs out, each in its own stream.

    A new batch may be started only after `collect`: then all three streams are known to be done with the last one.

    Args:
        gpu: the device.
        name: for messages.
        engine: with one input.
        outputs: the prepared graph's outputs in their order.
        streams: to work in.
        rings: page-locked, or not.
        stack: closes everything.
    """

    def __init__(
        self,
        gpu: Gpu,
        name: str,
        engine: Engine,
        outputs: Sequence[TensorSpec],
        streams: SlotStreams,
        rings: PageLockedRings,
        activations: DeviceBuffer | None,
        max_batch: int,
        stack: ExitStack,
    ) -> None:
        self._streams = streams
        self._rings = rings
        self._outputs = outputs
        (tensor,) = engine.info.inputs
        frame_bytes = max(prod(span.largest[1:]) for span in tensor.ranges)
        self.input = stack.enter_context(_closing(gpu.device_buffer(f"{name} input", max_batch * frame_bytes)))
        self._device_outputs: list[DeviceBuffer] = []
        self._sizes = [max_batch * prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in outputs]
        for spec, size in zip(outputs, self._sizes, strict=True):
            buffer = gpu.device_buffer(f"{name} output {spec.name}", size)
            self._device_outputs.append(stack.enter_context(_closing(buffer)))
        bindings = {tensor.name: self.input.address}
        bindings |= {spec.name: it.address for spec, it in zip(outputs, self._device_outputs, strict=True)}
        self.programs = Programs(name, engine, streams.compute, activations, bindings, stack)
        # Made in any case: page-locking may be refused later, and memory is taken at load only.
        self._staged_input: HostBuffer | None = None
        self._staged_outputs: list[HostBuffer] = []
        if rings.io == "staged":
            self._make_staging(gpu, name, stack)
        timing = [gpu.event(f"{name} {point}", timing=True) for point in ("begin", "uploaded", "started", "computed")]
        self._begin, self._uploaded, self._started, self._computed = timing
        self.finished = gpu.event(f"{name} finished", timed=True)
        for event in (*timing, self.finished):
            stack.callback(event.close)
        self._to_unstage: list[tuple[NDArray[np.generic], NDArray[np.uint8]]] = []
        self._copied = False
