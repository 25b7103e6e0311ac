# SPDX-License-Identifier: Apache-2.0
"""Folders of images for calibration and evaluation, read and fitted by the very code that captures frames.

A folder is looked at once (`survey`); from then on images are decoded as they are asked for, a batch at a time, so that
memory does not grow with their number.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.batches import Batches
from edged.errors import EngineError, SourceError
from edged.model import InputSpec
from edged.records import FrameRecord
from edged.stages.capture.fit import FitPlan, Fitter
from edged.stages.capture.readers.base import DecodeError, ReadFailedError
from edged.stages.capture.readers.folder import image_names, name_text, read_image
from edged.stages.capture.uri import IMAGE_SUFFIXES

Pixels = NDArray[np.uint8]
Tell = Callable[[int, int], None]
"""Called with how many images are done, and of how many. What it raises ends the work."""

LOOK_SIDE = 32
"""Side of the small grey picture by which images that look alike are found, cells."""


@dataclass(frozen=True, slots=True)
class Image:
    """One image of a folder.

    Attributes:
        group: name of its folder, unique among those surveyed together.
        folder: path of its folder.
        file: its name there, as the system gives it.
        height: of the decoded picture, pixels.
        width: of the decoded picture, pixels.
        digest: SHA-256 of its decoded pixels and their shape, 64 hexadecimal digits.
        look: the picture in grey, shrunk to `LOOK_SIDE` cells each way: bytes, row by row.
    """

    group: str
    folder: str
    file: str
    height: int
    width: int
    digest: str
    look: bytes

    @property
    def name(self) -> str:
        """The file's name, always valid UTF-8."""
        return name_text(self.file)

    @property
    def brightness(self) -> float:
        """Mean grey level, 0 to 255."""
        return float(np.frombuffer(self.look, np.uint8).mean())

    def __str__(self) -> str:
        return f"{self.group}/{self.name}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What some folders hold.

    Attributes:
        images: those that can be read, folder by folder, in byte order of their names.
        unreadable: one sentence for each that cannot.
    """

    images: tuple[Image, ...]
    unreadable: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """Names of the folders, in order."""
        return list(dict.fromkeys(image.group for image in self.images))


def survey(folders: Sequence[Path], tell: Tell | None = None) -> Survey:
    """Look at every image of some folders, not of folders inside them.

    Args:
        folders: they are named by the last part of their path; by the whole path where that is not unique.
        tell: called after each image.

    Raises:
        SourceError: a folder is missing, cannot be listed, or holds no image that can be read.
    """
    paths = list(dict.fromkeys(os.path.abspath(folder) for folder in folders))
    bases = [os.path.basename(path) for path in paths]
    names = [
        name_text(path if bases.count(base) > 1 or not base else base) for path, base in zip(paths, bases, strict=True)
    ]
    listed = [(name, path, file) for name, path in zip(names, paths, strict=True) for file in _files(path)]
    images: list[Image] = []
    unreadable: list[str] = []
    for done, (group, path, file) in enumerate(listed, 1):
        try:
            images.append(_look_at(group, path, file))
        except DecodeError as error:
            unreadable.append(f"{group}/{error}")
        if tell is not None:
            tell(done, len(listed))
    for name, path in zip(names, paths, strict=True):
        if all(image.group != name for image in images):
            raise SourceError("none of its images can be read", where=path, remedy=_remedy())
    return Survey(tuple(images), tuple(unreadable))


def load(image: Image) -> Pixels:
    """Decode an image once more: uint8 height×width×3, blue-green-red.

    Raises:
        EngineError: it is gone, or another one by now.
    """
    try:
        pixels = read_image(image.folder, image.file)
    except DecodeError as error:
        raise _changed(image, str(error)) from error
    if pixels.shape[:2] != (image.height, image.width):
        raise _changed(image, f"it was {image.width}x{image.height} and is {pixels.shape[1]}x{pixels.shape[0]} now")
    return pixels


class FrameBatches(Batches[Pixels]):
    """Images as a model takes them, in batches of equal shape: uint8 [n, H, W, 3], blue-green-red.

    Nothing is kept: every item is decoded when it is asked for, and belongs to the caller.

    Args:
        images: in the order of their frames.
        spec: how they are fitted.
        most: frames of a batch.
    """

    def __init__(self, images: Iterable[Image], spec: InputSpec, most: int = 1) -> None:
        self._fitter = Fitter(FitPlan.from_input(spec))
        self._batches: list[tuple[tuple[int, int], list[Image]]] = []
        for image in images:
            size = self._fitter.input_size(image.height, image.width)
            if self._batches and self._batches[-1][0] == size and len(self._batches[-1][1]) < most:
                self._batches[-1][1].append(image)
            else:
                self._batches.append((size, [image]))

    def __len__(self) -> int:
        return len(self._batches)

    def one(self, index: int) -> Pixels:
        """A batch, decoded now."""
        (height, width), images = self._batches[index]
        frames = np.empty((len(images), height, width, 3), np.uint8)
        for frame, image in zip(frames, images, strict=True):
            self._fitter.fit(load(image), frame)
        return frames

    def images(self, index: int) -> list[Image]:
        """The images of a batch."""
        return list(self._batches[index][1])

    def records(self, index: int) -> list[FrameRecord]:
        """What is known of a batch's frames, as capture would have noted it, but for the times."""
        (height, width), images = self._batches[index]
        return [FrameRecord(0, 0, 0, 0, one.width, one.height, width, height, one.name) for one in images]


def _files(path: str) -> list[str]:
    try:
        return image_names(path)
    except ReadFailedError as error:
        raise SourceError(str(error), where=name_text(path), remedy=_remedy()) from error


def _look_at(group: str, path: str, file: str) -> Image:
    pixels = read_image(path, file)
    height, width = pixels.shape[:2]
    digest = hashlib.sha256(f"{height}x{width}:".encode())
    digest.update(np.ascontiguousarray(pixels).data)
    return Image(group, path, file, height, width, digest.hexdigest(), look(pixels).tobytes())


def look(pixels: Pixels) -> Pixels:
    """A picture in grey, uint8 [`LOOK_SIDE`, `LOOK_SIDE`]: each cell the mean of what it covers."""
    small = cv2.resize(pixels, (LOOK_SIDE, LOOK_SIDE), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.cvtColor(small, cv2.COLOR_BGR2GRAY), np.uint8)


def _changed(image: Image, how: str) -> EngineError:
    return EngineError(
        f"the image changed while it was in use: {how}",
        where=str(image),
        remedy="leave the folder alone and build again",
    )


def _remedy() -> str:
    return f"give a folder of images ({', '.join(IMAGE_SUFFIXES)}); folders inside are not searched"
