# SPDX-License-Identifier: Apache-2.0
"""Loading entrants: a graph in ONNX Runtime, an engine on a GPU, each behind the daemon's pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from edged.engine.race.entrant import Course, Facts, Stand
from edged.engine.report.candidate import Memory
from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.rig.pipe import Opened, Pipe, Rings
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.ort import OnnxRuntimeExecutor
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor


def on_onnxruntime(path: Path, libraries: Sequence[str] = ()) -> Callable[[Course], Stand]:
    """A prepared graph in ONNX Runtime, with threads and runs side by side as the daemon has them.

    Args:
        path: the ONNX file.
        libraries: of custom operators.
    """

    def open_stand(course: Course) -> Stand:
        executors: list[OnnxRuntimeExecutor] = []

        def open_executor(_rings: Rings) -> Opened:
            wake = Wake()
            try:
                executor = OnnxRuntimeExecutor(
                    path,
                    course.outputs,
                    slots=course.slots,
                    max_batch=course.max_batch,
                    threads=course.threads,
                    parallel=course.runs_at_a_time,
                    on_done=wake.set,
                    fixed_batch=course.fixed_batch,
                    libraries=libraries,
                )
            except BaseException:
                wake.close()
                raise
            executors.append(executor)

            def close() -> None:
                executor.close()
                wake.close()

            return Opened(executor, executor.announces, close)

        pipe = Pipe(course.outputs, course.frame, course.slots, course.max_batch, open_executor)
        return Stand(pipe, Facts(io=executors[0].io))

    return open_stand


def on_gpu(gpu: Gpu, load: Callable[[], Engine]) -> Callable[[Course], Stand]:
    """An engine on a GPU, loaded when the stand is opened and closed with it.

    Args:
        gpu: opened by this thread.
        load: deserialises the engine.
    """
    return lambda course: _gpu_stand(gpu, load(), course)


def _gpu_stand(gpu: Gpu, engine: Engine, course: Course) -> Stand:
    executors: list[TensorRtExecutor] = []
    options = GpuOptions(slots=course.slots, max_batch=course.max_batch, io=course.io, contexts=course.contexts)

    def open_executor(rings: Rings) -> Opened:
        memory = [_memory("frames", rings.frames.region), _memory("outputs", rings.outputs.region)]
        executor = TensorRtExecutor(gpu, engine, course.outputs, memory, options)
        executors.append(executor)

        def close() -> None:
            executor.close()
            engine.close()

        return Opened(executor, True, close)

    try:
        pipe = Pipe(course.outputs, course.frame, course.slots, course.max_batch, open_executor)
    except BaseException:
        engine.close()
        raise
    (executor,) = executors
    weights, activations, buffers, _ = executor.footprint
    notes = [f"runs without a CUDA graph: {failure}" for failure in dict.fromkeys(executor.graph_failures)]
    if executor.io_refusal:
        notes.append(f"frames are copied by the CPU first: {executor.io_refusal}")
    memory = Memory(weights=weights, activations=activations, io=buffers)
    return Stand(pipe, Facts(io=executor.io, memory=memory, notes=tuple(notes)))


def _memory(name: str, region: Region) -> RingMemory:
    mapped = np.frombuffer(region.map, dtype=np.uint8)
    return RingMemory(name, mapped.ctypes.data, mapped.size)
