# SPDX-License-Identifier: Apache-2.0
"""Handwritten digits as coloured pictures: scikit-learn's 1,797 of them, of which 1,097 are never trained on.

The strokes are real (8×8 cells of 0 to 16, from scikit-learn, see the extra `train`); paper, ink, light, noise,
and how the digit lies are drawn here. Picture k of a seed is always the same one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from tools.models.folders import ASSETS, DataSet, Pixels, write_images

LABELS = tuple(str(number) for number in range(10))
SIDE = 32
TRAINING = 700
HELD_OUT = 1097
CALIBRATION = 256
_SPLIT_SEED = 0
_CALIB_SEED, _VAL_SEED = 1, 2
_FULL = 16  # strokes are 0 to 16
_CELL = 3.2  # pixels that a cell is wide at scale 1: some margin is left around 8 of them
_CONTRAST = 70  # least difference of the grey levels of paper and ink

SPEC = """\
# Handwritten digits on coloured paper. Made by tools/train_digits.py.
id = "digits"
onnx = "digits.onnx"
task = "classification"
decoder = "classification"
labels = "digits.names"

[input]
size = [32, 32]
color = "rgb"
resize = "stretch"
scale = 255.0
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]

[output]
score_threshold = 0.0
max_detections = 5
activation = "softmax"
"""


def strokes() -> tuple[Pixels, Pixels]:
    """All digits: uint8 [1797, 8, 8] of 0 to 16, and their classes, uint8 [1797].

    Raises:
        SystemExit: scikit-learn, which ships them, is not installed.
    """
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise SystemExit("the digits come with scikit-learn: pip install scikit-learn") from error
    digits = load_digits()
    return digits.images.astype(np.uint8), digits.target.astype(np.uint8)


def split() -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Which digits are for training (700) and which for measuring (1,097), in a shuffled order."""
    order: NDArray[np.intp] = np.random.RandomState(_SPLIT_SEED).permutation(TRAINING + HELD_OUT).astype(np.intp)
    return order[:TRAINING], order[TRAINING:]


def picture(digit: Pixels, rng: np.random.RandomState) -> Pixels:
    """Draw a digit (8×8, 0 to 16): turned, shifted and stretched a little, on paper of some colour.

    Returns:
        uint8 [32, 32, 3], blue-green-red.
    """
    ink_share = cv2.warpAffine(digit.astype(np.float32) / _FULL, _placing(rng), (SIDE, SIDE), flags=cv2.INTER_LINEAR)[
        ..., None
    ]
    paper, ink = _colours(rng)
    light = 1 + np.linspace(-0.15, 0.15, SIDE, dtype=np.float32)[:, None, None] * rng.uniform(-1, 1)
    noise = rng.normal(0, rng.uniform(1, 8), (SIDE, SIDE, 3))
    drawn = (paper + (ink - paper) * np.clip(ink_share * 1.25, 0, 1)) * light + noise
    result: Pixels = np.clip(np.rint(drawn), 0, 255).astype(np.uint8)
    return result


def _placing(rng: np.random.RandomState) -> NDArray[np.float64]:
    """The 2×3 matrix from cells to pixels."""
    angle, shear = rng.uniform(-0.2, 0.2), rng.uniform(-0.15, 0.15)
    wide, high = _CELL * rng.uniform(0.85, 1.15, size=2)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix = turn @ np.array([[wide, shear * wide], [0.0, high]])
    middle = (SIDE - 1) / 2 + rng.uniform(-2, 2, size=2)
    return np.column_stack([matrix, middle - matrix @ np.array([3.5, 3.5])])


def _colours(rng: np.random.RandomState) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Colours of paper and ink whose grey levels differ; either may be the brighter one."""
    middle = rng.uniform(60, 195)
    apart = rng.uniform(_CONTRAST, 150) * (1 if rng.randint(2) else -1)
    tints = rng.uniform(-25, 25, size=(2, 3))
    tints -= tints.mean(axis=1, keepdims=True)
    paper, ink = middle + apart / 2 + tints[0], middle - apart / 2 + tints[1]
    return np.clip(paper, 0, 255), np.clip(ink, 0, 255)


def pictures(rows: NDArray[np.intp], seed: int) -> Iterator[tuple[Pixels, int]]:
    """Pictures of some digits with their classes; picture and seed belong together."""
    images, classes = strokes()
    for row in rows.tolist():
        yield picture(images[row], np.random.RandomState([seed, row])), int(classes[row])


def held_out() -> Iterator[tuple[Pixels, int]]:
    """The 1,097 pictures to judge by, with their classes."""
    return pictures(split()[1], _VAL_SEED)


def write_data(folder: Path, calibration: int = CALIBRATION, held: int = HELD_OUT) -> DataSet:
    """Write ``calib/`` (of training digits), ``val/`` and ``val.csv`` into a folder.

    Args:
        folder: must not hold them yet.
        calibration: number of images to calibrate on, at most 700.
        held: number of images to judge by, at most 1,097.

    Returns:
        The files, with the trained model of the assets.
    """
    training, measuring = split()
    calib = pictures(training[:calibration], _CALIB_SEED)
    write_images(folder / "calib", ((f"{number:04}.png", image) for number, (image, _) in enumerate(calib)))
    val = [(f"{number:04}.png", *one) for number, one in enumerate(pictures(measuring[:held], _VAL_SEED))]
    write_images(folder / "val", ((name, image) for name, image, _ in val))
    rows = ["file,class", *(f"{name},{LABELS[class_id]}" for name, _, class_id in val)]
    (folder / "val.csv").write_text("\n".join(rows) + "\n", "utf-8")
    return DataSet(ASSETS / "digits.toml", folder / "calib", folder / "val", folder / "val.csv")
