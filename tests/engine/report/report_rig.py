# SPDX-License-Identifier: Apache-2.0
"""Report data for tests: a whole one, with the figures of a search as a real detector gives them, and parts of it."""

from __future__ import annotations

import cv2
import numpy as np

from edged.engine.report.candidate import Accuracy, Candidate, Memory, Precision, Range, Timing
from edged.engine.report.data import (
    Calibration,
    ClassRow,
    CurvePoint,
    Device,
    Evaluation,
    Folder,
    Layer,
    ReportData,
    Saturation,
    Scores,
    WorstFrame,
)

MIB = 1 << 20
ORIN = Device(
    name="Orin Nano", backend="tensorrt", runtime="TensorRT 10.3.0", driver="12.6", facts={"power mode": "15W"}
)
CPU = Device(name="x86_64, 2 cores", backend="onnxruntime", runtime="ONNX Runtime 1.23.0")


def timed(batch: int, ms: float, part: float = 0.02) -> Timing:
    """A timing whose rounds lie within a part of the median."""
    per_s = 1e3 * batch / ms
    return Timing(
        batch=batch,
        latency_ms=Range(median=ms, low=(1 - part) * ms, high=(1 + part) * ms),
        frames_per_s=Range(median=per_s, low=(1 - part) * per_s, high=(1 + part) * per_s),
    )


def candidate(
    precision: Precision,
    ms: float | None,
    loss: float | None,
    *,
    name: str = "",
    chosen: bool = False,
    refused: str = "",
    batch: int = 8,
    error: float | None = 0.3,
) -> Candidate:
    """A candidate raced at one batch size, and at 1 with a sixth of the time."""
    accuracy = None if loss is None else Accuracy(metric="AP", value=34.2 - loss, loss=loss, error=error)
    timings = () if ms is None else tuple(timed(it, ms * it / batch) for it in sorted({1, batch}))
    return Candidate(
        precision=precision,
        name=name or precision,
        timings=timings,
        accuracy=accuracy,
        chosen=chosen,
        refused_because=refused,
    )


def small(*candidates: Candidate, batch: int = 8) -> ReportData:
    """Nothing but candidates."""
    return ReportData(
        model_id="yolox-nano",
        task="detection",
        batch=batch,
        created_at=1_790_000_000.0,
        device=ORIN,
        candidates=candidates,
    )


def full(pictures: int = 2, layers: int = 62) -> ReportData:
    """Everything there is."""
    chance = np.random.default_rng(0)
    return ReportData(
        model_id="yolox-nano",
        task="detection",
        frame=(640, 640),
        bound=1.0,
        batch=8,
        created_at=1_790_000_000.0,
        device=ORIN,
        versions={"edged": "0.1.0", "tensorrt": "10.3.0", "onnx": "1.17.0", "onnxruntime": "1.23.0"},
        candidates=_candidates(),
        curve=_curve(),
        layers=_layers(layers),
        saturation=tuple(
            Saturation(tensor=f"/backbone/stage{i}/act/Mul_output_0", share=0.004 / i, threshold=4.0, largest=9.5 + i)
            for i in range(1, 30)
        ),
        scores=Scores(
            reference=tuple(int(it) for it in 4000 * np.exp(-np.linspace(0, 5, 20)) + chance.integers(0, 60, 20)),
            value=tuple(int(it) for it in 4200 * np.exp(-np.linspace(0, 5.2, 20)) + chance.integers(0, 60, 20)),
            shift=-0.012,
            p5=-0.071,
            p95=0.038,
        ),
        classes=tuple(
            ClassRow(name=name, reference=40.0 + place, value=39.5 + place)
            for place, name in enumerate(("person", "car", "dog", "traffic light", "bicycle"))
        ),
        worst=tuple(
            WorstFrame(name=f"val/{place:012}.png", difference="7 boxes differ", reference=scene(place), value=scene(9))
            for place in range(pictures)
        ),
        calibration=Calibration(
            folders=(Folder(name="calib/usual", images=150), Folder(name="calib/night", images=40)),
            method="percentile 99.99, found by search",
            warnings=("190 images are few: 200 and more are better.",),
        ),
        evaluation=Evaluation(
            kind="labels", images=512, labels=3601, folders=(Folder(name="val", images=512),), overlap="none of 190"
        ),
        why=("INT8 is 1.62 times as fast and within the bound",),
    )


def _candidates() -> tuple[Candidate, ...]:
    def one(precision: Precision, name: str, ms: float, loss: float, weights: int, share: float) -> Candidate:
        memory = Memory(weights=weights * MIB // 4, activations=(20 + 9 * weights) * MIB, io=59 * MIB)
        return Candidate(
            precision=precision,
            name=name,
            timings=(timed(1, ms / 5), timed(4, 0.55 * ms), timed(8, ms)),
            accuracy=Accuracy(metric="AP", value=34.2 - loss, loss=loss, error=0.3 if loss else 0.0),
            memory=memory,
            int8_share=share,
            chosen=name == "int8, 86 % of the work",
            refused_because="loses 24.1 points, 1 is allowed" if loss > 1 else "",
        )

    return (
        one("fp32", "fp32", 21.4, 0.0, 16, 0.0),
        one("tf32", "tf32", 17.9, 0.0, 16, 0.0),
        one("fp16", "fp16", 9.72, 0.02, 8, 0.0),
        one("int8", "int8, every convolution", 5.1, 24.1, 4, 1.0),
        one("int8", "int8, 86 % of the work", 6.0, 0.42, 5, 0.86),
        one("int8", "int8, 61 % of the work", 7.3, -0.1, 6, 0.61),
    )


def _curve() -> tuple[CurvePoint, ...]:
    found = ((1.0, 24.1), (0.97, 6.2), (0.93, 2.6), (0.9, 1.4), (0.86, 0.42), (0.61, -0.1), (0.95, 1.9), (0.88, 0.9))
    return tuple(
        CurvePoint(share=share, loss=loss, error=0.3, step=f"step {place}", chosen=share == 0.86)
        for place, (share, loss) in enumerate(found)
    )


def _layers(count: int) -> tuple[Layer, ...]:
    chance = np.random.default_rng(1)
    errors = np.sort(chance.exponential(0.02, count) ** 2)[::-1]
    work = chance.dirichlet(np.full(count, 0.6))
    return tuple(
        Layer(
            name=f"/backbone/backbone/dark{place % 5 + 1}/m.{place}/conv/Conv",
            operator="Conv",
            error=float(error),
            share=float(part),
            precision="fp16" if place < 6 or place % 11 == 0 else "int8",
            why="moved back: causes most of the error" if place < 6 else "",
        )
        for place, (error, part) in enumerate(zip(errors, work, strict=True))
    )


def scene(seed: int, height: int = 480, width: int = 640, noise: int = 0) -> bytes:
    """A picture as PNG; with noise it hardly compresses."""
    chance = np.random.default_rng(seed)
    pixels = np.full((height, width, 3), 90, np.uint8)
    for _ in range(5):
        x, y = (int(chance.integers(0, it - 60)) for it in (width, height))
        cv2.rectangle(pixels, (x, y), (x + 60, y + 50), tuple(int(it) for it in chance.integers(0, 255, 3)), 3)
    if noise:
        pixels = (pixels + chance.integers(0, noise, pixels.shape)).astype(np.uint8)
    _, found = cv2.imencode(".png", pixels)
    return found.tobytes()
