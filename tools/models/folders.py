# SPDX-License-Identifier: Apache-2.0
"""What a model is calibrated on and judged by, as files: folders of images, and labels."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

ASSETS = Path(__file__).resolve().parent / "assets"
"""Trained models, so that nothing but training needs PyTorch."""
_PNG = (cv2.IMWRITE_PNG_COMPRESSION, 1)  # many files that live for minutes: fast matters more than small

Pixels = NDArray[np.uint8]


class DataSet(NamedTuple):
    """A model and its images.

    Attributes:
        spec: the model spec.
        calib: folder of images for calibration.
        val: folder of images to judge by; none of them is in ``calib``.
        labels: what stands on the images of ``val``: COCO JSON (detection), CSV of file and class (classification), or
            a folder of masks (segmentation): a PNG of class numbers of the same name and size for each image.
    """

    spec: Path
    calib: Path
    val: Path
    labels: Path


def write_images(folder: Path, images: Iterable[tuple[str, Pixels]]) -> None:
    """Write images (name, and uint8 height×width×3 blue-green-red or height×width) into a new folder.

    Raises:
        OSError: the folder is there already, or an image cannot be written.
    """
    folder.mkdir(parents=True)
    for name, image in images:
        # OpenCV says only whether it worked.
        if not cv2.imwrite(str(folder / name), image, _PNG):
            raise OSError(f"{folder / name} cannot be written: is the disk full?")
