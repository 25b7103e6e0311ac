# SPDX-License-Identifier: Apache-2.0
"""How the INT8 tools run a graph: injected, so that the same search runs on ONNX Runtime and on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edged.errors import EngineError
from edged.graph.builder import FRAMES
from edged.graph.probe import ORT_ERRORS

Outputs = Mapping[str, NDArray[Any]]
Run = Callable[[NDArray[Any]], Outputs]
"""Takes frames, uint8 [N, H, W, 3], and gives every output of a graph by its name."""
Open = Callable[[onnx.ModelProto], Run]
"""Makes a graph ready to run. What it takes is freed when the result is."""


def open_onnxruntime(model: onnx.ModelProto, *, threads: int = 0, fused: bool = False) -> Run:
    """Make a graph ready to run in ONNX Runtime on the CPU.

    Args:
        model: its input is ``frames``.
        threads: 0 = all cores.
        fused: take INT8 kernels for what lies between Q/DQ. Without, Q/DQ round the values and the arithmetic between
            is float32: no kernel's intermediate saturation, and a session in a tenth of the time.

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
    try:
        session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise EngineError(f"ONNX Runtime does not take the graph: {error}", where="quantization") from error
    names = [info.name for info in session.get_outputs()]

    def run(frames: NDArray[Any]) -> Outputs:
        return dict(zip(names, session.run(names, {FRAMES: frames}), strict=True))

    return run
