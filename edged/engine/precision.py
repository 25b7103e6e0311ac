# SPDX-License-Identifier: Apache-2.0
"""Which precision an engine gets: what the user asked for, held against backend and graph."""

from __future__ import annotations

from typing import cast

from edged.engine.key import Backend, Precision
from edged.errors import EngineError

_WHERE = "--precision"


def choose_precision(asked: str, backend: Backend, *, quantized: bool) -> tuple[Precision, str]:
    """The precision to build, and why.

    Args:
        asked: ``auto``, ``int8``, ``fp16``, ``tf32`` or ``fp32``.
        backend: what is going to run the engine.
        quantized: whether the graph holds Q/DQ nodes.

    Raises:
        EngineError: backend or graph cannot have it.
    """
    if quantized:
        if asked not in ("auto", "int8"):
            raise EngineError(
                f"the graph holds Q/DQ nodes, so its engine is int8 and not {asked}",
                where=_WHERE,
                remedy="ask for int8 or auto, or give the graph without Q/DQ nodes",
            )
        return "int8", "the graph holds Q/DQ nodes"
    if asked == "int8":
        raise EngineError(
            "INT8 comes with calibration, since the graph holds no Q/DQ nodes",
            where=_WHERE,
            remedy="give images that the camera sees: --calibrate DIR for the ranges, --evaluate DIR of "
            "others to judge by (docs/int8.md)",
        )
    if backend == "onnxruntime":
        if asked not in ("auto", "fp32"):
            raise EngineError(
                f"ONNX Runtime on the CPU has no {asked}", where=_WHERE, remedy="ask for fp32 or auto, or use TensorRT"
            )
        return "fp32", "ONNX Runtime computes in FP32"
    if asked == "auto":
        return "fp16", "the fastest that needs no calibration"
    return cast(Precision, asked), "it was asked for"
