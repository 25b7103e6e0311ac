# SPDX-License-Identifier: Apache-2.0
"""Running graphs in ONNX Runtime on noise: does it run, and do two graphs compute the same?"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from edged.errors import EngineError
from edged.graph.checks import first_line
from edged.graph.custom import register
from edged.graph.probe import ORT_ERRORS
from edged.graph.sizes import HeightWidth

Outputs = dict[str, NDArray[Any]]

_TOLERANCE = 1e-4


def run(graph: bytes, count: int, size: HeightWidth, what: str, libraries: Sequence[str] = ()) -> Outputs:
    """Outputs of a prepared graph, by name, for ``count`` frames of noise that is the same every time.

    Args:
        graph: an ONNX file's content.
        count: of frames.
        size: height, width of a frame, pixels.
        what: the graph, for messages.
        libraries: of custom operators; those that are not for ONNX Runtime are left out.

    Raises:
        EngineError: ONNX Runtime does not take it.
    """
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    register(options, libraries)
    frames = np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)
    try:
        session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        (image,) = session.get_inputs()
        results = session.run(None, {image.name: frames})
    except ORT_ERRORS as error:
        raise EngineError(
            f"ONNX Runtime {onnxruntime.__version__} cannot run it: {first_line(error)}",
            where=what,
            remedy="run the model in ONNX Runtime by itself to see the reason",
        ) from error
    return {output.name: value for output, value in zip(session.get_outputs(), results, strict=True)}


def same(before: Outputs, after: Outputs) -> bool:
    """Whether two graphs computed the same, up to what another order of summing changes."""
    return before.keys() == after.keys() and all(_same(before[name], after[name]) for name in before)


def _same(before: NDArray[Any], after: NDArray[Any]) -> bool:
    if before.shape != after.shape or before.dtype != after.dtype:
        return False
    old, new = before.astype(np.float64), after.astype(np.float64)
    return bool(np.linalg.norm(old - new) <= _TOLERANCE * max(1.0, float(np.linalg.norm(old))))
