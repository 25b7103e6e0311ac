# SPDX-License-Identifier: Apache-2.0
"""TensorRT-RTX for tests: a real parser and a real builder, of the generation of TensorRT 11, that need no GPU."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx.helper import tensor_dtype_to_np_dtype

from edged.engine.key import DeviceFacts
from edged.engine.ort_workshop import session_run
from edged.engine.race.entrant import Course, Stand
from edged.engine.race.stands import on_onnxruntime
from edged.engine.toolkit import Inspected, LibraryToolkit, Plain
from edged.engine.workshop import Run
from edged.errors import DeviceUnavailableError
from edged.gpu.engines import EngineInfo, ShapeRange, TensorInfo
from edged.gpu.plan_file import unpacked_plan
from edged.gpu.trt import TensorRt
from edged.gpu.trt.build import BuildOptions, BuiltEngine
from edged.gpu.trt.progress import Progress
from edged.graph.prepare import PreparedModel

MODULE = "tensorrt_rtx"
CAPABILITY = "SM86"
"""Any that the builder knows; nothing is going to run."""


def rtx_library() -> TensorRt:
    """TensorRT-RTX; skips the test where it is not installed."""
    try:
        return TensorRt(module=MODULE)
    except DeviceUnavailableError as error:
        pytest.skip(f"TensorRT-RTX is not here ({error.what}): pip install tensorrt-rtx (CPython on x86-64 Linux)")


class RtxToolkit(LibraryToolkit):
    """A toolkit whose plans are real and are never loaded, for want of a GPU.

    Attributes:
        built: each graph that was built, with its options and what came of it.
    """

    def __init__(self, library: TensorRt) -> None:
        super().__init__(library, MODULE)
        self.facts = DeviceFacts(runtime=self.runtime, gpu="none", compute_capability=(8, 6), driver="13.0")
        self.device = {"name": "none"}
        self.built: list[tuple[onnx.ModelProto, BuildOptions, BuiltEngine]] = []

    def budget_bytes(self) -> int:
        return 1 << 30

    def build(self, model: Path, options: BuildOptions, progress: Progress) -> BuiltEngine:
        options = replace(options, optimization_level=0, compute_capabilities=(CAPABILITY,))
        built = super().build(model, options, progress)
        self.built.append((onnx.load(model), options, built))
        return built

    def inspect(self, plan: bytes) -> Inspected:
        graph, options, built = self.built[-1]
        front, content = unpacked_plan(plan, "plan")
        assert content == built.plan
        inputs = [
            TensorInfo(name, True, np.dtype(dtype.lower()).name, shape, tuple(one[name] for one in options.profiles))
            for name, dtype, shape in built.inputs
        ]
        if front is not None:
            ((_, _, _, (batch, _, height, width), ranges, _),) = inputs
            spans = tuple(ShapeRange(*((n, h, w, 3) for n, _, h, w in span)) for span in ranges)
            inputs = [TensorInfo(front.frames, True, "uint8", (batch, height, width, 3), spans)]
        outputs = [
            TensorInfo(info.name, False, np.dtype(tensor_dtype_to_np_dtype(kind.elem_type)).name, (-1, *_tail(kind)))
            for info in graph.graph.output
            for kind in [info.type.tensor_type]
        ]
        count = len(options.profiles)
        return Inspected(EngineInfo("", (*inputs, *outputs), count, (0,) * count, built.layers, 0, len(plan)), None)

    @contextlib.contextmanager
    def open(self, plan: bytes, prepared: PreparedModel, max_batch: int) -> Iterator[Run]:
        """Nothing can run here: ONNX Runtime runs the graph that the plan was built from."""
        yield session_run(Path(prepared.path))

    @contextlib.contextmanager
    def plain(self, plan: bytes) -> Iterator[Plain]:
        """Likewise."""
        graph, _, _ = self.built[-1]
        session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
        names = [one.name for one in session.get_outputs()]
        kept: dict[str, Any] = {}

        def run(values: Mapping[str, Any]) -> dict[str, Any]:
            kept.update(values)
            return dict(zip(names, session.run(names, kept), strict=True))

        yield run

    def stand(self, plan: bytes, prepared: PreparedModel) -> Callable[[Course], Stand]:
        return on_onnxruntime(Path(prepared.path))

    def close(self) -> None:
        """Nothing to give back."""


def _tail(kind: onnx.TypeProto.Tensor) -> tuple[int, ...]:
    return tuple(dim.dim_value or -1 for dim in kind.shape.dim[1:])
