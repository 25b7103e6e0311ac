# SPDX-License-Identifier: Apache-2.0
"""Contestants for tests of the bench: the demo model, on ONNX Runtime or on the accounting GPU."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.bench.bays import GpuBay
from edged.bench.report import Contestant, Measurement
from edged.bench.subject import Request, Subject, resolve
from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeEngine, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.rig.figures import Distribution, Spread
from edged.rig.rounds import Plan
from edged.runtime.plans import ChosenEngine

SPEC = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.toml"
COST_MS = 1.0
SIZES = ((1, 2, 2), (1, 4, 8))


def subject(state: Path, *flags: str, spec: Path = SPEC) -> Subject:
    """The demo model on ONNX Runtime."""
    overrides = (f"--daemon.state_dir={state}", "--engine.backend=onnxruntime", *flags)
    return resolve(Request(spec, None, overrides), {})


def on_gpu(found: Subject, max_batch: int = 8) -> Subject:
    """The same as if TensorRT ran it."""
    engine = ChosenEngine(backend="tensorrt", precision="fp16", key="k" * 64, path="engine.plan", max_batch=max_batch)
    return Subject("gpu", found.spec, found.model, found.settings, found.own_sources, found.prepared, engine, None)


def engine(gpu: FakeGpu, found: Subject, sizes: tuple[tuple[int, int, int], ...] = SIZES) -> FakeEngine:
    """An engine with the prepared graph's outputs, all zero."""
    frame = (*found.frame, 3)
    outputs = found.prepared.outputs

    def zeros(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        count = len(given["frames"])
        return {spec.name: np.zeros((count, *spec.shape), spec.dtype) for spec in outputs}

    tensors = [TensorInfo("frames", True, "uint8", (-1, *frame), tuple(batch_range(span, frame) for span in sizes))]
    tensors += [TensorInfo(spec.name, False, spec.dtype, (-1, *spec.shape)) for spec in outputs]
    return gpu.engine("demo", tensors, zeros, cost_ms=COST_MS)


def gpu_bay(state: Path, gpu: FakeGpu, sizes: tuple[tuple[int, int, int], ...] = SIZES) -> GpuBay:
    """The demo model on the accounting GPU."""
    found = on_gpu(subject(state))
    return GpuBay(found, gpu, engine(gpu, found, sizes), "tensorrt 10.3.0", 7_000)


def plan(rounds: int = 2, seconds: float = 0.02) -> Plan:
    """A short one that nobody stops."""
    return Plan(rounds, seconds, lambda: False, lambda: None)


def blank(label: str = "a", **fields: Any) -> Contestant:
    """A contestant of which nothing was measured."""
    values: dict[str, Any] = {
        "label": label,
        "spec": "demo.toml",
        "model_id": "demo",
        "backend": "tensorrt",
        "precision": "fp16",
        "engine": "key",
        "runtime": "tensorrt 10.3.0",
        "device": "Orin",
        "frame": (240, 320),
        "slots": 2,
        "contexts": 1,
        "threads": 0,
        "parallel": 1,
        "max_batch": 8,
    }
    return Contestant(**{**values, **fields})


def spread_of(*rounds: float) -> Spread:
    """Of these rounds."""
    return Spread(median=float(np.median(rounds)), low=min(rounds), high=max(rounds), rounds=rounds)


def measured(level: Any, batch: int, *rates: float, **stages_ms: float) -> Measurement:
    """A measurement with these rates, and stages of a batch."""
    times = Distribution(count=1, min=1, mean=1, p50=1, p90=1, p99=1, max=1)
    return Measurement(
        level=level,
        batch=batch,
        slots=2,
        profile=None,
        frames_per_s=spread_of(*rates),
        latency_ms=times,
        stages_ms=stages_ms,
        batches=1,
    )
