# SPDX-License-Identifier: Apache-2.0
"""Whether the ONNX file computes what the model computes in PyTorch."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray

from edged.errors import ModelError
from edged.graph.checks import dimensions, first_line
from edged.graph.probe import ORT_ERRORS

TOLERANCE = 1e-3
"""Largest difference between PyTorch and ONNX Runtime: the norm of the difference by the norm of PyTorch's output; for
integers, the share of values that differ."""
_SHOWN = 160


def difference(found: NDArray[Any], expected: NDArray[Any]) -> float:
    """Norm of the difference by the norm of what is expected; for integers, the share that differs.

    Returns:
        0 where both are equal, infinity where shapes differ, not a number where either holds one.
    """
    if found.shape != expected.shape:
        return float("inf")
    if not np.issubdtype(expected.dtype, np.floating):
        return float(np.mean(found != expected)) if expected.size else 0.0
    apart = float(np.linalg.norm((found.astype(np.float64) - expected.astype(np.float64)).ravel()))
    norm = float(np.linalg.norm(expected.astype(np.float64).ravel()))
    return apart / norm if norm else apart


def compare(
    model: onnx.ModelProto,
    frames: dict[int, NDArray[np.float32]],
    expected: dict[int, dict[str, NDArray[Any]]],
    where: str,
) -> dict[int, float]:
    """Run a graph in ONNX Runtime at every batch size.

    Args:
        model: the graph.
        frames: its input, float32 [N, 3, H, W], by batch size.
        expected: what it should give, by batch size and name.
        where: for messages.

    Returns:
        The largest difference of any output, by batch size.

    Raises:
        ModelError: the batch is fixed, ONNX Runtime does not run it, or an output differs.
    """
    (image,) = model.graph.input
    batch = dimensions(image)[0]
    if isinstance(batch, int):
        raise ModelError(f"the batch came out fixed at {batch}", where=where)
    try:
        session = ort.InferenceSession(model.SerializeToString(), _options(), providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        raise ModelError(f"ONNX Runtime cannot load it: {_short(error)}", where=where) from error
    return {count: _apart(session, image.name, values, expected[count], where) for count, values in frames.items()}


def _apart(
    session: ort.InferenceSession,
    image: str,
    values: NDArray[np.float32],
    expected: dict[str, NDArray[Any]],
    where: str,
) -> float:
    names = [output.name for output in session.get_outputs()]
    try:
        results = session.run(names, {image: values})
    except ORT_ERRORS as error:
        raise ModelError(f"ONNX Runtime fails at batch {len(values)}: {_short(error)}", where=where) from error
    return max(
        _checked(result, expected[name], name, len(values), where) for name, result in zip(names, results, strict=True)
    )


def _short(error: Exception) -> str:
    text = first_line(error)
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 1]}…"


def _checked(found: NDArray[Any], expected: NDArray[Any], name: str, count: int, where: str) -> float:
    apart = difference(found, expected)
    if np.isnan(apart):
        what = f"output {name!r} holds NaN or infinity at batch {count}"
    elif found.shape != expected.shape:
        what = f"output {name!r} is {list(found.shape)} at batch {count}, in PyTorch {list(expected.shape)}"
    elif not apart <= TOLERANCE:
        what = f"output {name!r} differs from PyTorch's by {apart:.1e} at batch {count} (at most {TOLERANCE:.0e})"
    else:
        return apart
    raise ModelError(what, where=where)


def _options() -> ort.SessionOptions:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options
