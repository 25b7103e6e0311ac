# SPDX-License-Identifier: Apache-2.0
"""Opening the executor that a plan asks for; each backend is imported only where it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from edged.runtime.plans import InferPlan
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.region import Region
from edged.stages.infer.executor import Executor

_LOG = logging.getLogger("edged")


class Opened(NamedTuple):
    """An executor that is ready to run.

    Attributes:
        executor: warmed up.
        announces: whether it calls ``on_done`` when a batch is done.
        asynchronous: whether submitting returns before the batch is done.
        close: ends it and what it stands on.
    """

    executor: Executor
    announces: bool
    asynchronous: bool
    close: Callable[[], None]


def open_executor(
    plan: InferPlan,
    layout: OutputLayout,
    frames: Sequence[FrameTable],
    outputs: OutputTable,
    on_done: Callable[[], None],
) -> Opened:
    """Load the engine and run it once.

    Raises:
        EdgedError: the engine cannot be loaded here.
    """
    if plan.engine.backend == "tensorrt":
        return _open_tensorrt(plan, layout, frames, outputs)
    from edged.stages.infer.ort import OnnxRuntimeExecutor

    executor = OnnxRuntimeExecutor(
        Path(plan.engine.path),
        layout.tensors,
        slots=plan.slots,
        max_batch=layout.max_batch,
        threads=plan.threads,
        parallel=plan.parallel,
        on_done=on_done,
        fixed_batch=plan.fixed_batch,
    )
    executor.warm_up(*plan.warm_up)
    return Opened(executor, executor.announces, executor.announces, executor.close)


def _open_tensorrt(plan: InferPlan, layout: OutputLayout, frames: Sequence[FrameTable], outputs: OutputTable) -> Opened:
    from edged.gpu.cuda import CudaGpu
    from edged.gpu.trt import TensorRt
    from edged.stages.infer.gpu_rings import RingMemory
    from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor

    def memory(name: str, region: Region) -> RingMemory:
        mapped = np.frombuffer(region.map, dtype=np.uint8)
        return RingMemory(name, mapped.ctypes.data, mapped.size)

    path = Path(plan.engine.path)
    gpu = CudaGpu(plan.device)
    library = TensorRt([Path(plugin) for plugin in plan.engine.plugins])
    engine = library.load(gpu.inventory, str(path), path.read_bytes())
    rings = [memory(f"frame ring {index}", table.region) for index, table in enumerate(frames)]
    options = GpuOptions(slots=plan.slots, max_batch=layout.max_batch, io=plan.io)
    executor = TensorRtExecutor(gpu, engine, layout.tensors, [*rings, memory("output ring", outputs.region)], options)
    for failure in executor.graph_failures:
        _LOG.warning("runs without a graph: %s", failure)

    def close() -> None:
        executor.close()
        engine.close()
        for leaked in gpu.close():
            _LOG.error("not released on the GPU: %s", leaked)

    return Opened(executor, False, True, close)
