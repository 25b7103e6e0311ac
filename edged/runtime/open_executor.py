# SPDX-License-Identifier: Apache-2.0
"""Opening the executor that a plan asks for; each backend is imported only where it runs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edged.runtime.plans import InferPlan
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.infer.executor import Executor

if TYPE_CHECKING:
    from edged.stages.infer.tensorrt import GpuFootprint

_MIB = 1 << 20
_FEW = 8
"""Failures that are told: each batch size may fail for the same reason, and a note has to stay short."""
_LOG = logging.getLogger("edged")


class Remark(NamedTuple):
    """Something for the log: ``info`` or ``warning``, and the text."""

    severity: str
    text: str


class Opened(NamedTuple):
    """An executor that is ready to run.

    Attributes:
        executor: warmed up.
        announces: whether the wake-up is set when a batch is done.
        asynchronous: whether submitting returns before the batch is done.
        close: ends it and what it stands on.
        remarks: what the log should hold of it; the supervisor writes the log.
        lock: takes one more piece of shared memory that frames or outputs lie in, under a name.
        unlock: lets go of it.
        bus_id: PCI address of the GPU; empty where there is none.
    """

    executor: Executor
    announces: bool
    asynchronous: bool
    close: Callable[[], None]
    remarks: Sequence[Remark]
    lock: Callable[[str, Region], None] = lambda _name, _region: None
    unlock: Callable[[str], None] = lambda _name: None
    bus_id: str = ""


def ring_name(index: int) -> str:
    """How a source's frame ring is called."""
    return f"frame ring {index}"


def open_executor(
    plan: InferPlan,
    layout: OutputLayout,
    frames: Mapping[int, FrameTable],
    outputs: OutputTable,
    wake: Wake,
) -> Opened:
    """Load the engine and run it once.

    Args:
        plan: which engine, and how.
        layout: of the output ring.
        frames: the frame rings, by index of the source.
        outputs: the output ring.
        wake: to set when a batch is done.

    Raises:
        EdgedError: the engine cannot be loaded here.
    """
    if plan.engine.backend == "tensorrt":
        return _open_tensorrt(plan, layout, frames, outputs, wake)
    from edged.stages.infer.ort import OnnxRuntimeExecutor

    remarks = []
    if plan.contexts > 1:
        text = "engine.contexts has no effect on ONNX Runtime, where engine.slots says how much runs side by side"
        remarks.append(Remark("warning", text))

    executor = OnnxRuntimeExecutor(
        Path(plan.engine.path),
        layout.tensors,
        slots=plan.slots,
        max_batch=batch_limit(plan, layout),
        threads=plan.threads,
        parallel=plan.parallel,
        on_done=wake.set,
        fixed_batch=plan.fixed_batch,
        libraries=plan.engine.plugins,
    )
    executor.warm_up(*plan.warm_up)
    return Opened(executor, executor.announces, executor.announces, executor.close, remarks)


def batch_limit(plan: InferPlan, layout: OutputLayout) -> int:
    """Frames of a batch at the most."""
    return min(plan.max_batch or layout.max_batch, layout.max_batch)


def memory_line(footprint: GpuFootprint, contexts: int) -> str:
    """GPU memory by kind, for the log."""
    weights, activations, buffers, taken = (f"{count / _MIB:.1f}" for count in footprint)
    each = f"{footprint.activations / contexts / _MIB:.1f}"
    return (
        f"GPU memory, MiB: weights {weights}; activations {activations} ({contexts} context(s) of {each}); "
        f"buffers {buffers}; all but the weights took {taken}"
    )


def _open_tensorrt(
    plan: InferPlan, layout: OutputLayout, frames: Mapping[int, FrameTable], outputs: OutputTable, wake: Wake
) -> Opened:
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
    rings = [memory(ring_name(index), table.region) for index, table in frames.items()]
    options = GpuOptions(slots=plan.slots, max_batch=batch_limit(plan, layout), io=plan.io, contexts=plan.contexts)
    rings.append(memory("output ring", outputs.region))
    executor = TensorRtExecutor(gpu, engine, layout.tensors, rings, options, wake_fd=wake.fd)
    remarks = [Remark("info", memory_line(executor.footprint, plan.contexts))]
    for failure in executor.graph_failures[:_FEW]:
        remarks.append(Remark("warning", f"runs without a graph: {failure}"))
    if plan.contexts > 1 and engine.info.aux_streams:
        text = f"each of {plan.contexts} contexts has {engine.info.aux_streams} auxiliary stream(s)"
        remarks.append(Remark("warning", f"{text}: an engine built with --aux-streams 0 does without their memory"))

    def close() -> None:
        executor.close()
        engine.close()
        for leaked in gpu.close():
            _LOG.error("not released on the GPU: %s", leaked)

    def lock(name: str, region: Region) -> None:
        executor.add_ring(memory(name, region))

    return Opened(executor, True, True, close, remarks, lock, executor.remove_ring, gpu.device.bus_id)
