# SPDX-License-Identifier: Apache-2.0
"""The real detector of the shared data (YOLOX-Nano), for tests and benchmarks: where it lies, and its model spec."""

from __future__ import annotations

import os
from pathlib import Path

YOLOX_SPEC = """\
id = "yolox-nano"
onnx = "{data}/yolox-nano/yolox_nano_coco.onnx"
task = "detection"
decoder = "yolox"
labels = "{data}/yolox-nano/coco.names"
[input]
size = [640, 640]
pad = {pad}
interpolation = "{interpolation}"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
[output]
score_threshold = {score_threshold}
iou_threshold = {iou_threshold}
max_detections = {max_detections}
"""


def data_folder() -> Path:
    """Where the shared data is expected: ``SHARED_DATA_DIR``, else ``shared/data`` beside the repository."""
    given = os.environ.get("SHARED_DATA_DIR")
    return Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"


def write_spec(
    folder: Path,
    data: Path,
    *,
    pad: int = 114,
    interpolation: str = "linear",
    score_threshold: float = 0.3,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
) -> Path:
    """Write the detector's model spec into a folder; returns its path."""
    path = folder / "yolox-nano.toml"
    values = {
        "data": data,
        "pad": pad,
        "interpolation": interpolation,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
    }
    path.write_text(YOLOX_SPEC.format(**values))
    return path
