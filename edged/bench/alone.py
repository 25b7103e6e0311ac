# SPDX-License-Identifier: Apache-2.0
"""The engine alone: nothing is copied, nothing is collated; what the device gives at best."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from math import prod
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

from edged.errors import EngineError, InternalError
from edged.gpu.api import Event, Gpu, Graph, Stream
from edged.gpu.engines import Engine, ExecutionContext, Shape
from edged.gpu.errors import GpuLostError
from edged.graph.prepare import PreparedModel
from edged.rig.rounds import DEADLINE_S, Stop, Turn
from edged.stages.infer.ort import open_session, threads_of_a_run

_QUEUED = 4
"""Batches that wait on the GPU: enough that it never runs dry while the host wakes up."""
_PICTURES = 4


class AloneOnGpu:
    """An engine on buffers of the device, launched back to back in one stream.

    Args:
        gpu: the device.
        engine: with one input.
        shape: of a batch, ``n×H×W×3``.
        profile: optimisation profile; None for the narrowest that takes the shape.
        graph: launch a CUDA graph; else enqueue each batch anew.

    Raises:
        EngineError: the engine takes no batch of this shape.
        CudaError: the GPU refuses, also to record the graph (`CaptureError`); nothing is left behind.
    """

    def __init__(self, gpu: Gpu, engine: Engine, shape: Shape, *, profile: int | None = None, graph: bool = True):
        self.batch = shape[0]
        (given,) = engine.info.inputs
        chosen = engine.info.narrowest_profile(given.name, shape) if profile is None else profile
        if chosen is None:
            raise EngineError(f"no optimisation profile takes a batch of {self.batch}", where=engine.name)
        self.profile: int | None = chosen
        with ExitStack() as stack:
            self._stream: Stream = stack.enter_context(closing(gpu.stream("alone")))
            # One more than are queued: a batch's time is the distance to the event before it.
            self._events: list[Event] = [
                stack.enter_context(closing(gpu.event(f"alone {number}", timing=True))) for number in range(_QUEUED + 1)
            ]
            try:
                self._context = self._load(gpu, engine, shape, chosen, stack)
                self._graph = self._record(gpu, stack) if graph else None
            except BaseException:
                # The stream has to be empty before what it works on is given back.
                self._settle()
                raise
            self._stack = stack.pop_all()

    def _record(self, gpu: Gpu, stack: ExitStack) -> Graph:
        recorded = gpu.capture("alone", self._stream, lambda: self._context.enqueue(self._stream))
        return stack.enter_context(closing(recorded))

    def _load(self, gpu: Gpu, engine: Engine, shape: Shape, profile: int, stack: ExitStack) -> ExecutionContext:
        (given,) = engine.info.inputs
        context = stack.enter_context(closing(engine.context("alone")))
        if context.profile != profile:
            context.use_profile(profile, self._stream)
        context.set_shape(given.name, shape)
        for tensor in engine.info.tensors:
            size = prod(max(1, extent) for extent in context.shape(tensor.name)) * np.dtype(tensor.dtype).itemsize
            buffer = stack.enter_context(closing(gpu.device_buffer(f"alone {tensor.name}", size)))
            if tensor.is_input:
                # Noise, not zeros: a GPU that multiplies zeros draws less power and clocks higher.
                with closing(gpu.host_buffer("alone noise", size)) as noise:
                    noise.array[:] = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
                    self._stream.copy_in(buffer, 0, noise.address, size)
                    self._stream.synchronize()
            context.bind(tensor.name, buffer.address)
        # Once for real: what an engine initialises in its first run cannot be recorded, and is not to be measured.
        context.enqueue(self._stream)
        self._stream.synchronize()
        return context

    def run(self, seconds: float, stop: Stop) -> Turn:
        """Launch batches for a time."""
        turn, events, stream = Turn(), self._events, self._stream
        graph, enqueue = self._graph, self._context.enqueue
        begin = time.perf_counter()
        end = begin + seconds
        events[-1].record(stream)
        count = 0
        while count == 0 or (time.perf_counter() < end and not stop()):
            if count >= _QUEUED:
                self._finish(count - _QUEUED, turn)
            before = time.perf_counter_ns()
            if graph is not None:
                graph.launch(stream)
            else:
                enqueue(stream)
            turn.note("submit", (time.perf_counter_ns() - before) / 1e6)
            events[count % len(events)].record(stream)
            count += 1
        for number in range(max(0, count - _QUEUED), count):
            self._finish(number, turn)
        turn.batches, turn.seconds = count, time.perf_counter() - begin
        return turn

    def _finish(self, number: int, turn: Turn) -> None:
        """Wait for a batch and note how long the GPU had it."""
        events = self._events
        done = events[number % len(events)]
        if not done.wait(DEADLINE_S):
            raise InternalError(f"a batch was not done within {DEADLINE_S:g} s", where="bench")
        turn.latencies_ms.append(done.since(events[(number - 1) % len(events)]))

    def close(self) -> None:
        """Release everything; the engine stays the caller's."""
        self._settle()
        self._stack.close()

    def _settle(self) -> None:
        try:
            self._stream.synchronize()
        except GpuLostError:
            # Nothing runs any more; what was taken ends with the process.
            return


class AloneOnCpu:
    """A prepared graph in ONNX Runtime, inputs and outputs bound beforehand.

    Args:
        path: the ONNX file.
        prepared: what it is.
        shape: of a batch, ``n×H×W×3``.
        threads: of a run; 0 for as many as there are cores for.
        parallel: runs at a time, as the pipeline has them.
    """

    profile: int | None = None

    def __init__(self, path: Path, prepared: PreparedModel, shape: Shape, *, threads: int, parallel: int) -> None:
        self.batch = shape[0]
        self._session = open_session(path, threads or threads_of_a_run(parallel))
        self._loops = [_BareLoop(self._session, prepared, shape, seed) for seed in range(parallel)]

    def run(self, seconds: float, stop: Stop) -> Turn:
        """Run batches for a time."""
        if len(self._loops) == 1:
            return self._loops[0].run(seconds, stop)
        begin = time.perf_counter()
        with ThreadPoolExecutor(len(self._loops)) as pool:
            parts = list(pool.map(lambda loop: loop.run(seconds, stop), self._loops))
        turn = Turn(seconds=time.perf_counter() - begin)
        for part in parts:
            turn.batches += part.batches
            turn.latencies_ms += part.latencies_ms
        return turn

    def close(self) -> None:
        """Release the session."""
        self._loops.clear()
        del self._session


class _Bound(NamedTuple):
    """A binding and the arrays that it points to."""

    binding: onnxruntime.IOBinding
    keep: tuple[object, ...]


class _BareLoop:
    """One run after the other."""

    def __init__(self, session: onnxruntime.InferenceSession, prepared: PreparedModel, shape: Shape, seed: int) -> None:
        self._session = session
        self._name = session.get_inputs()[0].name
        rng = np.random.default_rng(seed)
        self._bound = [self._bind(prepared, rng.integers(0, 256, shape, np.uint8)) for _ in range(_PICTURES)]

    def _bind(self, prepared: PreparedModel, frames: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> _Bound:
        binding = self._session.io_binding()
        binding.bind_input(self._name, "cpu", 0, np.uint8, frames.shape, frames.ctypes.data)
        keep: list[object] = [frames]
        for spec in prepared.outputs:
            if spec.fixed:
                array = np.empty((len(frames), *spec.shape), spec.dtype)
                keep.append(array)
                binding.bind_output(spec.name, "cpu", 0, array.dtype, array.shape, array.ctypes.data)
            else:
                binding.bind_output(spec.name, "cpu")
        return _Bound(binding, tuple(keep))

    def run(self, seconds: float, stop: Stop) -> Turn:
        turn, run, bound = Turn(), self._session.run_with_iobinding, self._bound
        begin = now = time.perf_counter()
        while turn.batches == 0 or (now - begin < seconds and not stop()):
            run(bound[turn.batches % len(bound)].binding)
            before, now = now, time.perf_counter()
            turn.latencies_ms.append((now - before) * 1e3)
            turn.batches += 1
        turn.seconds = now - begin
        return turn
