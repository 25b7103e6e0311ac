# SPDX-License-Identifier: Apache-2.0
"""Runs graphs for evaluation as the daemon runs them: through its executors, from plain memory instead of rings."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Outputs
from edged.errors import DeviceUnavailableError
from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.graph.prepare import PreparedModel
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput, Executor
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

_BATCH_S = 60.0
"""Longest that a batch may take; the first one may compile or load something."""
_ALIGNMENT = 256


class ExecutorRun:
    """Runs frames through an executor, one batch after the other. One thread uses it; close it at the end.

    Args:
        open_executor: makes the executor over two pieces of memory: the frames' and the outputs'.
        outputs: the prepared graph's.
        size: largest height, width of a frame, pixels.
        max_batch: frames of a batch at the most; larger ones are split.
    """

    def __init__(
        self,
        open_executor: Callable[[list[RingMemory]], Executor],
        outputs: Sequence[TensorSpec],
        size: tuple[int, int],
        max_batch: int,
    ) -> None:
        self._max_batch = max_batch
        self._frames = np.frombuffer(mmap.mmap(-1, max_batch * size[0] * size[1] * 3), np.uint8)
        self._places = OutputPlaces(outputs, max_batch)
        memories = [("frames", self._frames), ("outputs", self._places.memory)]
        self._executor = open_executor([RingMemory(name, one.ctypes.data, one.nbytes) for name, one in memories])

    def __call__(self, frames: NDArray[Any]) -> Outputs:
        """Run frames, uint8 [N, H, W, 3]; every output by its name, in memory of its own.

        Raises:
            DeviceUnavailableError: a batch was not done in time.
        """
        parts = [self._batch(frames[at : at + self._max_batch]) for at in range(0, len(frames), self._max_batch)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def close(self) -> None:
        """Close the executor."""
        self._executor.close()

    def __enter__(self) -> ExecutorRun:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _batch(self, frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        there = self._frames[: frames.size].reshape(frames.shape)
        np.copyto(there, frames)
        self._places.begin(len(frames))
        addresses = [int(one.ctypes.data) for one in there]
        self._executor.submit(0, BatchInput(list(there), there, addresses), self._places)
        if not self._executor.done(0) and not self._executor.wait(0, _BATCH_S):
            raise DeviceUnavailableError(
                f"a batch of {len(frames)} frames was not done within {_BATCH_S:g} s",
                where="evaluation",
                remedy="see with edged doctor whether the GPU answers",
            )
        self._executor.collect(0)
        return self._places.results()


class OutputPlaces:
    """Memory for one batch's outputs; implements `edged.stages.infer.executor.BatchOutput`.

    Args:
        outputs: the prepared graph's.
        max_batch: frames of a batch at the most.
    """

    def __init__(self, outputs: Sequence[TensorSpec], max_batch: int) -> None:
        self._outputs = list(outputs)
        self._starts: list[int] = []
        end = 0
        for spec in outputs:
            self._starts.append(end)
            size = max_batch * int(np.prod(spec.shape)) * np.dtype(spec.dtype).itemsize
            end += -(-size // _ALIGNMENT) * _ALIGNMENT
        self.memory: NDArray[np.uint8] = np.frombuffer(mmap.mmap(-1, max(end, 1)), np.uint8)
        self._count = 0
        self._shapes: dict[int, tuple[int, ...]] = {}

    def begin(self, count: int) -> None:
        """A batch of so many frames comes."""
        self._count = count
        self._shapes = {}

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        """Array of output tensor ``index``, ``n×shape``."""
        spec = self._outputs[index]
        extents = (self._count, *(spec.shape if shape is None else shape))
        start, size = self._starts[index], int(np.prod(extents)) * np.dtype(spec.dtype).itemsize
        return self.memory[start : start + size].view(spec.dtype).reshape(extents)

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        """Write down one frame's shape of an output whose shape is not fixed."""
        self._shapes[index] = shape

    def results(self) -> dict[str, NDArray[Any]]:
        """Copies of all outputs."""
        return {spec.name: self.view(at, self._shapes.get(at)).copy() for at, spec in enumerate(self._outputs)}


def tensorrt_run(gpu: Gpu, engine: Engine, prepared: PreparedModel, max_batch: int) -> ExecutorRun:
    """Run an engine on a GPU as the infer process does.

    Args:
        gpu: opened by this thread.
        engine: the prepared graph's; stays the caller's to close, after what this gives.
        prepared: the graph.
        max_batch: frames of a batch at the most.

    Raises:
        EngineError: the engine is not one of this graph, or takes no batch of that size.
        CudaError: the GPU refuses.
    """
    options = GpuOptions(slots=1, max_batch=max_batch)
    return ExecutorRun(
        lambda memories: TensorRtExecutor(gpu, engine, prepared.outputs, memories, options),
        prepared.outputs,
        prepared.input_size,
        max_batch,
    )
