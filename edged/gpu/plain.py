# SPDX-License-Identifier: Apache-2.0
"""Runs any engine, one batch after the other: for measuring while a build is under way, where nothing has to overlap.

All inputs lie in one piece of page-locked memory and of device memory, all outputs in another, so that a run is one
copy in, the engine, one copy out.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack, closing
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.errors import DeviceUnavailableError, EngineError
from edged.gpu.api import DeviceBuffer, Gpu, HostBuffer
from edged.gpu.engines import ALIGNMENT, Engine, Shape, TensorInfo

Arrays = Mapping[str, NDArray[Any]]
_RUN_S = 60.0
"""Longest that a run may take; the first one may compile or load something."""


class PlainRun:
    """One use of an engine. One thread uses it; close it at the end, before the engine.

    Args:
        gpu: opened by this thread.
        engine: with one optimisation profile; stays the caller's.

    Raises:
        EngineError: the engine wants tensors on the host.
        CudaError: out of memory, or anything else that the GPU refuses; nothing is left behind.
    """

    def __init__(self, gpu: Gpu, engine: Engine) -> None:
        self._gpu, self._engine = gpu, engine
        if not all(tensor.on_device for tensor in engine.info.tensors):
            raise EngineError("the engine wants tensors on the host", where=engine.name)
        self._inputs = {tensor.name: tensor for tensor in engine.info.inputs}
        self._outputs = {tensor.name: tensor for tensor in engine.info.outputs}
        self._stack = ExitStack()
        self._out: tuple[HostBuffer, DeviceBuffer] | None = None
        try:
            self._stream = self._stack.enter_context(closing(gpu.stream("plain")))
            self._event = self._stack.enter_context(closing(gpu.event("plain", timed=True)))
            self._context = self._stack.enter_context(closing(engine.context("plain")))
            self._load()
        except BaseException:
            self._stack.close()
            raise

    def _load(self) -> None:
        self._starts, size = _placed({name: _nbytes(one, _largest(one)) for name, one in self._inputs.items()})
        self._host = self._stack.enter_context(closing(self._gpu.host_buffer("plain inputs", size)))
        self._device = self._stack.enter_context(closing(self._gpu.device_buffer("plain inputs", size)))
        self._host.array[...] = 0
        for name, start in self._starts.items():
            self._context.bind(name, self._device.address + start)

    def __call__(self, values: Arrays) -> dict[str, NDArray[Any]]:
        """Run once.

        Args:
            values: inputs by name. An input that is not given keeps what it had; before that it is zero.

        Returns:
            Every output by its name, in memory that the next run writes to again.

        Raises:
            EngineError: an output's size is not known before the run.
            DeviceUnavailableError: it was not done in time.
        """
        for name, array in values.items():
            tensor = self._inputs[name]
            content = np.ascontiguousarray(array, tensor.dtype)
            self._context.set_shape(name, content.shape)
            start = self._starts[name]
            self._host.array[start : start + content.nbytes] = content.reshape(-1).view(np.uint8)
        shapes = {name: self._context.shape(name) for name in self._outputs}
        starts, size = self._placed_outputs(shapes)
        host, device = self._room(size)
        for name, start in starts.items():
            self._context.bind(name, device.address + start)
        self._stream.copy_in(self._device, 0, self._host.address, self._host.size)
        self._context.enqueue(self._stream)
        self._stream.copy_out(host.address, device, 0, size)
        self._event.record(self._stream)
        if not self._event.wait(_RUN_S):
            raise DeviceUnavailableError(
                f"a run was not done within {_RUN_S:g} s",
                where=self._engine.name,
                remedy="see with edged doctor whether the GPU answers",
            )
        return {name: self._view(host, starts[name], tensor, shapes[name]) for name, tensor in self._outputs.items()}

    def close(self) -> None:
        """Release everything but the engine."""
        self._stream.synchronize()
        self._free_outputs()
        self._stack.close()

    def __enter__(self) -> PlainRun:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _placed_outputs(self, shapes: Mapping[str, Shape]) -> tuple[dict[str, int], int]:
        unknown = [name for name, shape in shapes.items() if min(shape, default=0) < 0]
        if unknown:
            raise EngineError(f"how large {', '.join(unknown)} is only the run tells", where=self._engine.name)
        return _placed({name: _nbytes(self._outputs[name], shape) for name, shape in shapes.items()})

    def _room(self, size: int) -> tuple[HostBuffer, DeviceBuffer]:
        """Memory for the outputs; made anew where there is too little."""
        if self._out is None or self._out[0].size < size:
            self._free_outputs()
            host = self._gpu.host_buffer("plain outputs", size)
            try:
                self._out = host, self._gpu.device_buffer("plain outputs", size)
            except BaseException:
                host.close()
                raise
        return self._out

    def _free_outputs(self) -> None:
        out, self._out = self._out, None
        for buffer in out or ():
            buffer.close()

    @staticmethod
    def _view(host: HostBuffer, start: int, tensor: TensorInfo, shape: Shape) -> NDArray[Any]:
        return host.array[start : start + _nbytes(tensor, shape)].view(tensor.dtype).reshape(shape)


def _largest(tensor: TensorInfo) -> Shape:
    return tensor.ranges[0].largest if -1 in tensor.shape else tensor.shape


def _nbytes(tensor: TensorInfo, shape: Shape) -> int:
    return prod(shape) * np.dtype(tensor.dtype).itemsize


def _placed(sizes: Mapping[str, int]) -> tuple[dict[str, int], int]:
    """Where each of some pieces starts, aligned, and how long they are together."""
    starts, end = {}, 0
    for name, size in sizes.items():
        starts[name] = end
        end += max(1, -(-size // ALIGNMENT)) * ALIGNMENT
    return starts, max(end, ALIGNMENT)
