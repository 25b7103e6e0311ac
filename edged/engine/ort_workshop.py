# SPDX-License-Identifier: Apache-2.0
"""Engines for ONNX Runtime: the prepared graph itself, once it has run here."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime
from numpy.typing import NDArray

from edged.engine import trial
from edged.engine.bench import Bench, OrtBench
from edged.engine.key import Backend, BuilderOptions, EngineKey, Precision
from edged.engine.manifest import GpuMemory, Tensor
from edged.engine.protocol import Phase
from edged.engine.workshop import Job, Made, Run, digests
from edged.errors import EngineError
from edged.graph.builder import FRAMES
from edged.graph.custom import register
from edged.graph.sizes import size_bounds
from edged.stages.infer.ort import open_session

if TYPE_CHECKING:
    from edged.engine.race.entrant import Course, Stand


class OrtWorkshop:
    """Builds for ONNX Runtime on the CPU.

    Args:
        plugins: libraries of custom operators.

    Raises:
        EngineError: one of them cannot be read, or is not for ONNX Runtime.
    """

    backend: Backend = "onnxruntime"

    def __init__(self, plugins: tuple[str, ...] = ()) -> None:
        self.device: dict[str, str] = {}
        self.plugins = digests(plugins)
        strange = register(onnxruntime.SessionOptions(), plugins)
        if strange:
            raise EngineError(
                "the library holds no operators for ONNX Runtime",
                where=strange[0],
                remedy="leave --plugin out, or use --backend tensorrt if it is for TensorRT",
            )

    def key(self, job: Job, precision: Precision) -> EngineKey:
        """Model, version and libraries; the file fits every machine and takes every batch."""
        options = None
        if self.plugins:
            libraries = tuple(plugin.sha256 for plugin in self.plugins)
            options = BuilderOptions(workspace_mb=0, optimization_level=0, plugins=libraries)
        runtime = f"onnxruntime {onnxruntime.__version__}"
        return EngineKey(
            model=job.prepared.digest, precision=precision, backend=self.backend, runtime=runtime, options=options
        )

    def make(self, job: Job, key: EngineKey) -> Made:  # noqa: ARG002 - the interface's signature
        """The prepared graph, after a run with the smallest frame and one with the largest."""
        if job.prepared.unknown:
            raise EngineError(
                f"ONNX Runtime lacks operators of the model: {', '.join(job.prepared.unknown)}",
                where=str(job.spec.onnx),
                remedy="give a library that has them for ONNX Runtime with --plugin, or use --backend tensorrt",
            )
        content = Path(job.prepared.path).read_bytes()
        job.tell(Phase("running it once"))
        for size in dict.fromkeys(size_bounds(job.spec.input)):
            trial.run(content, job.prepared.fixed_batch or 1, size, job.prepared.path, job.request.plugins)
        return Made(content, _tensors(job), job.prepared.fixed_batch, GpuMemory())

    @contextmanager
    def open(self, job: Job, key: EngineKey, made: Made) -> Iterator[Run]:  # noqa: ARG002 - the interface's signature
        """The job's graph in a session as the daemon has it."""
        yield session_run(Path(job.prepared.path), job.request.plugins)

    def stand(self, job: Job, key: EngineKey, made: Made) -> Callable[[Course], Stand]:  # noqa: ARG002 - as above
        """The job's graph behind the daemon's pipeline."""
        from edged.engine.race.stands import on_onnxruntime

        return on_onnxruntime(Path(job.prepared.path), job.request.plugins)

    def benches(self, job: Job) -> Sequence[Bench]:
        """ONNX Runtime, also on a GPU where the installed one can."""
        return [OrtBench(job.request.plugins, job.request.device)]

    def close(self) -> None:
        """Nothing to give back."""


def session_run(path: Path, libraries: tuple[str, ...] = ()) -> Run:
    """A graph in a session as the daemon has it.

    Args:
        path: the ONNX file; its input is ``frames``.
        libraries: of custom operators.

    Raises:
        ModelError: ONNX Runtime does not take it.
    """
    session = open_session(path, 0, libraries)
    names = [info.name for info in session.get_outputs()]

    def run(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        return dict(zip(names, session.run(names, {FRAMES: frames}), strict=True))

    return run


def _tensors(job: Job) -> tuple[Tensor, ...]:
    batch = job.prepared.fixed_batch or -1
    size = (-1, -1) if job.prepared.dynamic else job.prepared.input_size
    frames = Tensor(name=FRAMES, role="input", dtype="uint8", shape=(batch, *size, 3))
    outputs = [
        Tensor(
            name=spec.name,
            role="output",
            dtype=spec.dtype,
            shape=(batch, *(spec.shape if spec.fixed else (-1,) * len(spec.shape))),
        )
        for spec in job.prepared.outputs
    ]
    return (frames, *outputs)
