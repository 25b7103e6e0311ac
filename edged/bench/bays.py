# SPDX-License-Identifier: Apache-2.0
"""Where contestants stand while they are measured: an engine that is loaded, alone or behind a pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edged.bench.alone import AloneOnCpu, AloneOnGpu
from edged.bench.report import Memory
from edged.bench.subject import Subject
from edged.gpu.api import Gpu
from edged.gpu.engines import Engine
from edged.gpu.errors import CaptureError
from edged.rig.pipe import Opened, Pipe, Rings
from edged.rig.rounds import Way
from edged.shm.region import Region
from edged.shm.wake import Wake
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.ort import OnnxRuntimeExecutor
from edged.stages.infer.tensorrt import GpuFootprint, GpuOptions, TensorRtExecutor

if TYPE_CHECKING:
    from edged.bench.layers import LayerReport

_MIB = 1 << 20


class AloneWay(Way, Protocol):
    """An engine alone; it ends before the engine."""

    profile: int | None

    def close(self) -> None:
        """Release it."""
        ...


class Bay(Protocol):
    """A contestant whose engine is loaded.

    Attributes:
        subject: what it is.
        device: what runs it, in words.
        runtime: library and version.
        io: how frames get to the device, once a pipeline was made.
        notes: what to know of the figures.
    """

    subject: Subject
    device: str
    runtime: str
    io: str
    notes: list[str]

    def profiles(self, batch: int) -> Sequence[int]:
        """Optimisation profiles that take a batch, the narrowest first; empty where there are none."""
        ...

    def alone(self, batch: int, *, profile: int | None = None, graph: bool = True) -> AloneWay | None:
        """The engine alone; None where it has no such way."""
        ...

    def pipe(self, slots: int, max_batch: int) -> Pipe:
        """The pipeline."""
        ...

    def memory(self) -> Memory | None:
        """GPU memory of the pipeline made last; None without a GPU."""
        ...

    def layers(self, batch: int, end_to_end_ms: float | None) -> LayerReport:
        """Time by layer for a batch; ``end_to_end_ms`` is what it takes in the pipeline, if that is known."""
        ...

    def close(self) -> None:
        """Unload it."""
        ...


class CpuBay:
    """ONNX Runtime; every way has a session of its own."""

    def __init__(self, subject: Subject) -> None:
        import onnxruntime

        self.subject = subject
        self.device = "CPU"
        self.runtime = f"onnxruntime {onnxruntime.__version__}"
        self.io = ""
        self.notes: list[str] = []

    def profiles(self, batch: int) -> Sequence[int]:  # noqa: ARG002 - ONNX Runtime takes any shape
        """None: ONNX Runtime has none."""
        return ()

    def alone(self, batch: int, *, profile: int | None = None, graph: bool = True) -> AloneOnCpu | None:
        """Bare loops, as many side by side as the pipeline has runs."""
        if profile is not None or not graph:
            return None
        subject = self.subject
        return AloneOnCpu(
            Path(subject.engine.path),
            subject.prepared,
            (batch, *subject.frame, 3),
            threads=subject.settings.engine.threads,
            parallel=subject.parallel,
        )

    def pipe(self, slots: int, max_batch: int) -> Pipe:
        """The pipeline, its runs side by side as the daemon has them."""
        subject, prepared = self.subject, self.subject.prepared
        parallel = min(slots, subject.parallel) if slots <= subject.slots else subject.parallel

        def open_executor(_rings: Rings) -> Opened:
            with ExitStack() as made:
                wake = Wake()
                made.callback(wake.close)
                executor = OnnxRuntimeExecutor(
                    Path(subject.engine.path),
                    prepared.outputs,
                    slots=slots,
                    max_batch=max_batch,
                    threads=subject.settings.engine.threads,
                    parallel=parallel,
                    on_done=wake.set,
                    fixed_batch=prepared.fixed_batch,
                )
                made.callback(executor.close)
                executor.warm_up(*subject.frame)
                self.io = executor.io
                return Opened(executor, executor.announces, made.pop_all().close)

        return Pipe(prepared.outputs, subject.frame, slots, max_batch, open_executor)

    def memory(self) -> Memory | None:
        """None: there is no GPU."""
        return None

    def layers(self, batch: int, end_to_end_ms: float | None) -> LayerReport:
        """Time by layer."""
        from edged.bench.layers import analyse

        subject = self.subject
        shape = (batch, *subject.frame, 3)
        return analyse(Path(subject.engine.path), shape, threads=subject.threads, end_to_end_ms=end_to_end_ms)

    def close(self) -> None:
        """Nothing is loaded between ways."""


class GpuBay:
    """TensorRT.

    Args:
        subject: what it is.
        gpu: the device, shared by all contestants.
        engine: loaded; belongs to this bay from now on.
        runtime: library and version.
        loaded_bytes: what the device had less of after the engine was loaded.
    """

    def __init__(self, subject: Subject, gpu: Gpu, engine: Engine, runtime: str, loaded_bytes: int = 0) -> None:
        self.subject = subject
        self.device = gpu.device.name
        self.runtime = runtime
        self.io = ""
        self.notes: list[str] = []
        self.engine = engine
        self._gpu = gpu
        self._loaded_bytes = loaded_bytes
        self._last: tuple[GpuFootprint, int] | None = None

    def profiles(self, batch: int) -> Sequence[int]:
        """Profiles that take a batch, the narrowest first."""
        (given,) = self.engine.info.inputs
        shape = (batch, *self.subject.frame, 3)
        fitting = [index for index, span in enumerate(given.ranges) if span.takes(shape)]
        return sorted(fitting, key=lambda index: (int(np.prod(given.ranges[index].largest)), index))

    def alone(self, batch: int, *, profile: int | None = None, graph: bool = True) -> AloneOnGpu | None:
        """The engine alone; without a graph where none can be recorded, which is noted."""
        shape = (batch, *self.subject.frame, 3)
        try:
            return AloneOnGpu(self._gpu, self.engine, shape, profile=profile, graph=graph)
        except CaptureError as error:
            self._note(f"runs without a CUDA graph: {error}")
            return AloneOnGpu(self._gpu, self.engine, shape, profile=profile, graph=False)

    def pipe(self, slots: int, max_batch: int) -> Pipe:
        """The pipeline over page-locked rings."""
        settings, outputs = self.subject.settings.engine, self.subject.prepared.outputs
        options = GpuOptions(slots=slots, max_batch=max_batch, io=settings.io, contexts=settings.contexts)

        def open_executor(rings: Rings) -> Opened:
            memory = [_memory("frames", rings.frames.region), _memory("outputs", rings.outputs.region)]
            executor = TensorRtExecutor(self._gpu, self.engine, outputs, memory, options)
            self.io = executor.io
            self._last = (executor.footprint, 0 if executor.io == "staged" else sum(ring.size for ring in memory))
            for failure in dict.fromkeys(executor.graph_failures):
                self._note(f"runs without a CUDA graph: {failure}")
            if executor.io_refusal:
                self._note(f"frames are copied by the CPU first: {executor.io_refusal}")
            return Opened(executor, True, executor.close)

        return Pipe(outputs, self.subject.frame, slots, max_batch, open_executor)

    def memory(self) -> Memory | None:
        """By kind, from the executor and the manifest."""
        if self._last is None:
            return None
        footprint, rings = self._last
        manifest = self.subject.manifest
        measured = None if manifest is None else manifest.memory.weights
        options = None if manifest is None else manifest.fields.options
        weights = footprint.weights if measured is None else measured
        taken = footprint.taken + self._loaded_bytes
        known = weights + footprint.activations + footprint.buffers
        return Memory(
            weights=weights,
            activations=footprint.activations,
            workspace_limit=None if options is None else options.workspace_mb * _MIB,
            buffers=footprint.buffers,
            taken=taken if taken > 0 else None,
            other=taken - known if taken > known else None,
            page_locked=rings,
        )

    def layers(self, batch: int, end_to_end_ms: float | None) -> LayerReport:
        """Time by layer."""
        from edged.bench.layers import analyse

        graph = Path(self.subject.prepared.path)
        shape = (batch, *self.subject.frame, 3)
        return analyse(graph, shape, engine=self.engine, gpu=self._gpu, end_to_end_ms=end_to_end_ms)

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def close(self) -> None:
        """Unload the engine."""
        self.engine.close()


def _memory(name: str, region: Region) -> RingMemory:
    mapped = np.frombuffer(region.map, dtype=np.uint8)
    return RingMemory(name, mapped.ctypes.data, mapped.size)
