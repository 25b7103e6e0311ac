# SPDX-License-Identifier: Apache-2.0
"""Images and COCO labels for the two detectors: the demo's scenes, drawn here, and the shared photographs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edged.stages.capture.shapes import LABELS, ShapesScene
from tools.evaluate_shapes import HELD_OUT_SEEDS, SIZES
from tools.models.folders import DataSet, Pixels, write_images

DEMO_SPEC = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.toml"
CALIB_SEEDS = range(20_000, 30_000)
"""Scenes to calibrate on: neither those to judge by nor those trained on."""
CALIBRATION, HELD_OUT = 200, 240
_FRAMES = (0, 37)  # of a scene: about a second apart


def demo_frames(seeds: range, count: int) -> Iterator[tuple[str, ShapesScene, int]]:
    """Name, scene and frame number: two frames of each scene, frame sizes in turn."""
    for number in range(count):
        place, frame = divmod(number, len(_FRAMES))
        scene = ShapesScene(seeds[place], *SIZES[place % len(SIZES)])
        yield f"{scene.seed}-{_FRAMES[frame]}.png", scene, _FRAMES[frame]


def write_demo_data(folder: Path, calibration: int = CALIBRATION, held: int = HELD_OUT) -> DataSet:
    """Write ``calib/``, ``val/`` and ``val.json`` of the demo's detector into a folder.

    Args:
        folder: must not hold them yet.
        calibration: number of images to calibrate on.
        held: number of images to judge by.
    """
    write_images(folder / "calib", _drawn(CALIB_SEEDS, calibration))
    write_images(folder / "val", _drawn(HELD_OUT_SEEDS, held))
    (folder / "val.json").write_text(json.dumps(demo_labels(held)) + "\n", "utf-8")
    return DataSet(DEMO_SPEC, folder / "calib", folder / "val", folder / "val.json")


def demo_labels(held: int) -> dict[str, Any]:
    """The truth of the held-out images in COCO's form; category ids are class numbers + 1, as is usual there."""
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, (name, scene, frame) in enumerate(demo_frames(HELD_OUT_SEEDS, held), 1):
        images.append({"id": image_id, "file_name": name, "width": scene.width, "height": scene.height})
        for shape in scene.truth(frame):
            x1, y1, x2, y2 = shape.box
            size = [x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image_id,
                    "category_id": shape.class_id + 1,
                    "bbox": [x1, y1, *size],
                    "area": size[0] * size[1],
                    "iscrowd": 0,
                }
            )
    categories = [{"id": number, "name": label} for number, label in enumerate(LABELS, 1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def yolox_data(spec: Path, shared: Path) -> DataSet:
    """The real detector's photographs, as they lie in the shared data.

    Args:
        spec: its model spec.
        shared: the shared data's folder.
    """
    photographs = shared / "coco-mini"
    return DataSet(spec, photographs / "calib", photographs / "val", photographs / "val.json")


def _drawn(seeds: range, count: int) -> Iterator[tuple[str, Pixels]]:
    for name, scene, frame in demo_frames(seeds, count):
        yield name, scene.render(frame)
