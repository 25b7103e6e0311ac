# SPDX-License-Identifier: Apache-2.0
"""How the INT8 tools run a graph: injected, so that the same search runs on ONNX Runtime and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edged.errors import EngineError
from edged.graph.builder import FRAMES
from edged.graph.custom import register
from edged.graph.probe import ORT_ERRORS

Outputs = Mapping[str, NDArray[Any]]
Run = Callable[[NDArray[Any]], Outputs]
"""Takes frames, uint8 [N, H, W, 3], and gives every output of a graph by its name."""
Open = Callable[[onnx.ModelProto], Run]
"""Makes a graph ready to run. What it takes is freed when the result is."""


CPU: tuple[Any, ...] = ("CPUExecutionProvider",)
_CUDA = "CUDAExecutionProvider"
_TF32_SINCE = (1, 18)
"""The first version that lets one choose; it refuses options that it does not know."""


def providers(gpu: int | None) -> tuple[Any, ...]:
    """What ONNX Runtime computes with: its CUDA provider where it has one and a GPU is meant, in full float32.

    Args:
        gpu: index of the GPU; None for the CPU.
    """
    if gpu is None or _CUDA not in ort.get_available_providers():
        return CPU
    options = {"device_id": str(gpu)}
    if tuple(int(part) for part in ort.__version__.split(".")[:2]) >= _TF32_SINCE:
        options["use_tf32"] = "0"
    return ((_CUDA, options), *CPU)


class Settable(Protocol):
    """A graph that is ready to run; further inputs than the frames stay as they were until they are given anew."""

    def __call__(self, frames: NDArray[Any], values: Mapping[str, NDArray[Any]] | None = None) -> Outputs:
        """Run frames, uint8 [N, H, W, 3]; every output by its name, good until the next run."""
        ...


def open_onnxruntime(
    model: onnx.ModelProto,
    *,
    threads: int = 0,
    fused: bool = False,
    libraries: Sequence[str] = (),
    on: Sequence[Any] = CPU,
) -> Settable:
    """Make a graph ready to run in ONNX Runtime.

    Args:
        model: its input is ``frames``.
        threads: 0 = all cores.
        fused: take INT8 kernels for what lies between Q/DQ. Without, Q/DQ round the values and the arithmetic between
            is float32: no kernel's intermediate saturation, and a session in a tenth of the time.
        libraries: of custom operators; those that hold none for ONNX Runtime are passed over.
        on: see `providers`.

    Raises:
        EngineError: ONNX Runtime does not take the graph.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    options.enable_cpu_mem_arena = False  # an arena keeps the largest of all it ever held
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if not fused:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    register(options, libraries)
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=list(on))
    except ORT_ERRORS as error:
        raise EngineError(f"ONNX Runtime does not take the graph: {error}", where="quantization") from error
    names = [info.name for info in session.get_outputs()]

    kept: dict[str, NDArray[Any]] = {}

    def run(frames: NDArray[Any], values: Mapping[str, NDArray[Any]] | None = None) -> Outputs:
        kept.update(values or {})
        return dict(zip(names, session.run(names, {FRAMES: frames, **kept}), strict=True))

    return run
