# SPDX-License-Identifier: Apache-2.0
"""Where the shared data lies: a real detector, labelled images, a real video. None of it is part of the project."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def shared_data() -> Path:
    """The data folder; skips the test where it is absent."""
    given = os.environ.get("SHARED_DATA_DIR")
    folder = Path(given) if given else Path(__file__).resolve().parents[3] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"the shared data is not here ({folder}); set SHARED_DATA_DIR")
    return folder


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


def write_yolox_spec(
    folder: Path,
    *,
    pad: int = 114,
    interpolation: str = "linear",
    score_threshold: float = 0.3,
    iou_threshold: float = 0.5,
    max_detections: int = 100,
) -> Path:
    """A model spec of the real detector; skips where the data is absent."""
    path = folder / "yolox-nano.toml"
    values = {
        "data": shared_data(),
        "pad": pad,
        "interpolation": interpolation,
        "score_threshold": score_threshold,
        "iou_threshold": iou_threshold,
        "max_detections": max_detections,
    }
    path.write_text(YOLOX_SPEC.format(**values))
    return path
