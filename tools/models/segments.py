# SPDX-License-Identifier: Apache-2.0
"""The segmentation model's spec, and its images and masks as files. Needs numpy and OpenCV only."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tools.models.folders import ASSETS, DataSet, write_images
from tools.models.scenes import scene

SIDE = 513
FIRST_TRAINING_SEED = 100_000
CALIB_SEEDS = range(50_000, 60_000)
HELD_OUT_SEEDS = range(5_000, 15_000)
"""Scenes to judge by; training takes seeds from 100 000 on."""
CALIBRATION, HELD_OUT = 200, 100

SPEC = """\
# Shapes of four colours on textured ground, 21 classes. Made by tools/train_segments.py.
id = "segments"
onnx = "segments.onnx"
task = "segmentation"
decoder = "segmentation"
labels = "segments.names"

[input]
size = [513, 513]
color = "rgb"
resize = "letterbox"
pad = 114
align = "center"
interpolation = "linear"
scale = 255.0
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""


def write_data(folder: Path, calibration: int = CALIBRATION, held: int = HELD_OUT) -> DataSet:
    """Write ``calib/``, ``val/`` and ``val-masks/`` into a folder.

    Args:
        folder: must not hold them yet.
        calibration: number of scenes to calibrate on.
        held: number of scenes to judge by.

    Returns:
        The files, with the trained model of the assets.
    """
    write_images(folder / "calib", ((f"{seed}.png", scene(seed, SIDE)[0]) for seed in CALIB_SEEDS[:calibration]))
    seeds = HELD_OUT_SEEDS[:held]
    write_images(folder / "val", ((f"{seed}.png", scene(seed, SIDE)[0]) for seed in seeds))
    write_images(folder / "val-masks", ((f"{seed}.png", scene(seed, SIDE)[1]) for seed in seeds))
    return DataSet(ASSETS / "segments.toml", folder / "calib", folder / "val", folder / "val-masks")


def confusion(truth: NDArray[np.uint8], found: NDArray[np.uint8], classes: int) -> NDArray[np.int64]:
    """How often each class (row) was taken for each (column): int64 [classes, classes], of two masks of one shape."""
    pairs = truth.astype(np.int64).ravel() * classes + found.ravel()
    return np.bincount(pairs, minlength=classes * classes).reshape(classes, classes)


def mean_iou(counts: NDArray[np.int64]) -> float:
    """Mean over the classes that occur of intersection ÷ union, 0 to 1, from a whole set's `confusion`, summed."""
    common = np.diag(counts)
    union = counts.sum(axis=0) + counts.sum(axis=1) - common
    return float(np.mean(common[union > 0] / union[union > 0]))
