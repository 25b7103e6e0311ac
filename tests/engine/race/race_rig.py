# SPDX-License-Identifier: Apache-2.0
"""Entrants for tests of the race: chains of convolutions in ONNX Runtime, and engines of the accounting GPU."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from support.int8_nets import SIZE, chain

from edged.engine.race.entrant import Course, Entrant
from edged.engine.race.stands import on_gpu, on_onnxruntime
from edged.engine.report.candidate import Precision
from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import TensorSpec

FRAME = (SIZE, SIZE)
SCORES = TensorSpec("scores", "float32", (4,))


def graph(folder: Path, name: str, length: int) -> tuple[Path, TensorSpec]:
    """A chain of so many convolutions, and its output."""
    model = chain(length=length)
    path = folder / f"{name}.onnx"
    onnx.save(model, path)
    return path, TensorSpec(model.graph.output[0].name, "float32", (16, SIZE, SIZE))


def on_cpu(path: Path, name: str, precision: Precision, **fields: Any) -> Entrant:
    """An entrant of ONNX Runtime."""
    return Entrant(name, precision, "onnxruntime", on_onnxruntime(path), **fields)


def cpu_course(output: TensorSpec, **fields: Any) -> Course:
    """A course of one thread, so that a busy machine disturbs as little as possible."""
    return Course(**{"outputs": (output,), "frame": FRAME, "slots": 2, "threads": 1, "parallel": 1, **fields})


def gpu_course(**fields: Any) -> Course:
    """A course for `fake_engine`s."""
    return Course(**{"outputs": (SCORES,), "frame": FRAME, "batches": {1: 1.0, 4: 1.0}, **fields})


def fake_engine(gpu: FakeGpu, cost_ms: float, activation_bytes: int = 1024) -> FakeEngine:
    """An engine that takes so long, on the GPU's clock and on the wall's."""

    def run(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        time.sleep(cost_ms / 1e3)
        return {SCORES.name: np.zeros((len(given["frames"]), 4), np.float32)}

    frame = (*FRAME, 3)
    tensors = [
        TensorInfo("frames", True, "uint8", (-1, *frame), (batch_range((1, 2, 4), frame),)),
        TensorInfo(SCORES.name, False, SCORES.dtype, (-1, *SCORES.shape)),
    ]
    return gpu.engine(f"{cost_ms} ms", tensors, run, cost_ms=cost_ms, activation_bytes=activation_bytes)


def on_fake(
    gpu: FakeGpu, name: str, precision: Precision, cost_ms: float, *, activation_bytes: int = 1024, **fields: Any
) -> Entrant:
    """An entrant of the accounting GPU, loaded whenever its stand is opened."""
    load = on_gpu(gpu, lambda: fake_engine(gpu, cost_ms, activation_bytes))
    return Entrant(name, precision, "tensorrt", load, **fields)
