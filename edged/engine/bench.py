# SPDX-License-Identifier: Apache-2.0
"""Where graphs run that only measure: for calibration and the search, not for serving."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.engine.int8.run import Settable, open_onnxruntime, providers
from edged.engine.opset import changed_opset
from edged.engine.protocol import Note, Phase, Tell
from edged.engine.steps import Steps
from edged.engine.timing_cache import kept
from edged.engine.toolkit import Plain, Toolkit
from edged.engine.workshop import Job
from edged.errors import DeviceUnavailableError, EngineError
from edged.files import write_atomically
from edged.gpu.engines import Shape, ShapeRange
from edged.gpu.errors import CudaError, GpuLostError
from edged.gpu.trt.build import BuildOptions
from edged.graph.builder import FRAMES, default_opset
from edged.graph.sizes import size_bounds

Values = Mapping[str, NDArray[Any]]
_LEVELS = (0, 2)
"""Optimisation levels: without a look at how fast a kernel is a build takes seconds; some graphs need more."""
_MIB = 1 << 20
T = TypeVar("T")


class Bench(Protocol):
    """Runs one float graph at a time."""

    @property
    def runtime(self) -> str:
        """What computes, with its version: part of the key of what was measured."""
        ...

    @property
    def opens_slowly(self) -> bool:
        """Whether opening a graph takes as long as running it on many frames."""
        ...

    def open(self, model: onnx.ModelProto) -> Settable:
        """Make a graph ready; the one before is closed.

        Raises:
            EngineError: it cannot be.
        """
        ...

    def close(self) -> None:
        """Close what is open."""
        ...


class OrtBench:
    """ONNX Runtime: on the GPU where the installed one can and a GPU is meant, else on the CPU.

    Args:
        libraries: of custom operators.
        gpu: index of the GPU; None for the CPU.
    """

    opens_slowly = False

    def __init__(self, libraries: tuple[str, ...] = (), gpu: int | None = None) -> None:
        import onnxruntime

        self._libraries = libraries
        self._providers = providers(gpu)
        on = "" if len(self._providers) == 1 else " (CUDA)"
        self.runtime = f"onnxruntime {onnxruntime.__version__}{on}"

    def open(self, model: onnx.ModelProto) -> Settable:
        """A session."""
        return open_onnxruntime(model, libraries=self._libraries, on=self._providers)

    def close(self) -> None:
        """Sessions are freed with what holds them."""


class TrtBench:
    """TensorRT in float32 without TF32, built in a hurry.

    Args:
        toolkit: GPU and TensorRT; stays the caller's.
        job: the build.
    """

    opens_slowly = True

    def __init__(self, toolkit: Toolkit, job: Job) -> None:
        self._toolkit = toolkit
        self._job = job
        self._stack = contextlib.ExitStack()
        self.runtime = f"{toolkit.facts.runtime} on {toolkit.facts.gpu}, fp32"

    def open(self, model: onnx.ModelProto) -> Settable:
        """Build an engine for one batch size and load it."""
        self.close()
        path = self._job.scratch / "measured.onnx"
        fitted = for_parser(model, self._toolkit.parser_opset)
        write_atomically(path, fitted.SerializeToString())
        plain = self._stack.enter_context(self._toolkit.plain(self._built(path, fitted)))
        batch = self._job.prepared.fixed_batch or 1
        return _Fed(plain, batch)

    def close(self) -> None:
        """End the engine that is loaded."""
        self._stack.close()

    def _built(self, path: Path, model: onnx.ModelProto) -> bytes:
        self._job.tell(Phase("building what measures"))
        for level in _LEVELS:
            try:
                return self._toolkit.build(path, self._options(model, level), Steps(self._job.tell)).plan
            except EngineError:
                if level == _LEVELS[-1]:
                    raise
        raise AssertionError

    def _options(self, model: onnx.ModelProto, level: int) -> BuildOptions:
        # Of inputs with one shape only, too: not every version tells it of an engine where no profile does.
        given = {
            info.name: [dim.dim_value or None for dim in info.type.tensor_type.shape.dim] for info in _inputs(model)
        }
        return BuildOptions(
            profiles=({name: self._range(dims) for name, dims in given.items()},),
            strongly_typed=not self._toolkit.weakly_typed,
            workspace_bytes=self._job.request.workspace_mb * _MIB,
            optimization_level=level,
            aux_streams=0,
            timing_cache=kept(Path(self._job.request.timing_cache)),
            library_tactics=False,
            detailed=False,
        )

    def _range(self, dims: list[int | None]) -> ShapeRange:
        """Shapes of an input; what is open are frames: one batch size, every height and width that the model takes."""
        batch = self._job.prepared.fixed_batch or 1
        low, high = size_bounds(self._job.spec.input)

        def of(size: tuple[int, int]) -> Shape:
            wanted = (batch, *size, 3)
            return tuple(fixed or wanted[place] for place, fixed in enumerate(dims))

        return ShapeRange(of(low), of(high), of(high))


def _inputs(model: onnx.ModelProto) -> Iterator[onnx.ValueInfoProto]:
    constants = {one.name for one in model.graph.initializer}
    return (info for info in model.graph.input if info.name not in constants)


class _Fed:
    """Gives a plain run its frames in batches of the size that it takes."""

    def __init__(self, plain: Plain, batch: int) -> None:
        self._plain = plain
        self._batch = batch
        self._values: Values | None = None

    def __call__(self, frames: NDArray[Any], values: Values | None = None) -> Mapping[str, NDArray[Any]]:
        new: Values = {}
        if values is not None and values is not self._values:
            new, self._values = values, values
        if len(frames) == self._batch:
            return self._plain({FRAMES: frames, **new})
        parts = []
        for at in range(0, len(frames), self._batch):
            found = self._plain({FRAMES: frames[at : at + self._batch], **new})
            parts.append({name: array.copy() for name, array in found.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def for_parser(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """A copy as a parser of TensorRT takes it: no newer opset, and a type for every output."""
    lowered = changed_opset(model, opset) if default_opset(model) > opset else model
    copy = onnx.ModelProto()
    copy.CopyFrom(lowered)
    for info in copy.graph.output:
        if not info.type.tensor_type.elem_type:
            info.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return copy


def on_first(benches: Sequence[Bench], tell: Tell, do: Callable[[Bench], T]) -> T:
    """Do something on the first bench that can; what keeps the others from it is told.

    Raises:
        EdgedError: of the last bench, or of any where the GPU is lost.
    """
    for bench in benches[:-1]:
        try:
            return do(bench)
        except GpuLostError:
            raise
        except (EngineError, DeviceUnavailableError, CudaError) as error:
            bench.close()
            tell(Note(f"{bench.runtime} cannot measure, so {benches[-1].runtime} does: {error.what}"))
    return do(benches[-1])
