# SPDX-License-Identifier: Apache-2.0
"""The images of a calibration: one folder or several, named apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edged.engine.calibration.weights import MOST, image_weights
from edged.engine.evaluate.alike import check_variety
from edged.engine.evaluate.words import some
from edged.engine.images import FrameBatches, Image, Pixels, Survey, Tell, survey
from edged.engine.sampling.record import is_unfinished, read_record
from edged.errors import EngineError
from edged.model import InputSpec

MOST_UNREADABLE = 0.1
"""Part of the images beyond which something is wrong with the folder."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Some frames of a calibration.

    Attributes:
        frames: as the model takes them, uint8 [n, H, W, 3], blue-green-red.
        weights: how much each counts, float64 [n]; the mean over all images is 1.
        folders: name of each one's folder.
        images: where they come from.
    """

    frames: Pixels
    weights: NDArray[np.float64]
    folders: tuple[str, ...]
    images: tuple[Image, ...]


class CalibrationSet:
    """Images to calibrate with, and how much each folder's count.

    Args:
        found: what the folders hold.

    Attributes:
        images: all of them, folder by folder.
        weights: of an image of each folder, by the folder's name.
        warnings: sentences for the user.

    Raises:
        EngineError: an image is in two folders, too many cannot be read, or too few differ.
    """

    def __init__(self, found: Survey) -> None:
        self.images = found.images
        _refuse_unreadable(found)
        _refuse_shared(found)
        self._groups = {name: [one for one in found.images if one.group == name] for name in found.groups}
        sizes = [len(images) for images in self._groups.values()]
        self.weights = dict(zip(self._groups, image_weights(sizes), strict=True))
        self.warnings = (*_unreadable(found), *check_variety(found), *self._capped())

    @classmethod
    def of(cls, folders: Sequence[Path], tell: Tell | None = None) -> CalibrationSet:
        """The images of some folders, not of folders inside them.

        Args:
            folders: of images, or samples.
            tell: called after each image that was looked at.

        Raises:
            SourceError: a folder is missing, cannot be listed, or holds no image that can be read.
            EngineError: a folder is an unfinished sample; or as the class.
        """
        for folder in folders:
            if is_unfinished(folder):
                read_record(folder)  # says what to do about it
        return cls(survey(folders, tell))

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of the folders."""
        return tuple(self._groups)

    def of_folder(self, name: str) -> list[Image]:
        """The images of one folder, in byte order of their names."""
        return list(self._groups[name])

    def frames(self, name: str, spec: InputSpec, most: int = 1) -> FrameBatches:
        """Frames of one folder, in batches of equal shape; nothing is kept, see `FrameBatches`."""
        return FrameBatches(self._groups[name], spec, most)

    def batches(self, spec: InputSpec, most: int = 1) -> Iterator[Batch]:
        """All frames with their weights, folder by folder, decoded as they are asked for.

        Args:
            spec: how they are fitted.
            most: frames of a batch; a batch holds one shape and one folder's images.

        Raises:
            EngineError: an image has changed since it was looked at.
        """
        for name, weight in self.weights.items():
            batches = self.frames(name, spec, most)
            for index in range(len(batches)):
                images = tuple(batches.images(index))
                weights = np.full(len(images), weight)
                yield Batch(batches[index], weights, (name,) * len(images), images)

    def _capped(self) -> list[str]:
        largest = max(map(len, self._groups.values()))
        small = [name for name, images in self._groups.items() if len(images) * MOST < largest]
        return [
            f"folder {name} holds {len(self._groups[name])} images beside one of {largest}: each counts as {MOST:g}, "
            f"which makes {len(self._groups[name]) * self.weights[name] / len(self.images):.0%} of the calibration"
            for name in small
        ]


def _refuse_shared(found: Survey) -> None:
    """No image may count in two folders."""
    first: dict[str, Image] = {}
    pairs = []
    for image in found.images:
        other = first.setdefault(image.digest, image)
        if other.group != image.group:
            pairs.append(f"{image} is {other}")
    if pairs:
        raise EngineError(
            f"{len(pairs)} images are in two folders: {some(pairs)}",
            where="calibration",
            remedy="leave each in one of them: folders are named apart so that each counts by itself",
        )


def _refuse_unreadable(found: Survey) -> None:
    bad, total = len(found.unreadable), len(found.images) + len(found.unreadable)
    if bad > MOST_UNREADABLE * total:
        raise EngineError(
            f"{bad} of {total} images cannot be read: {some(found.unreadable)}",
            where="calibration",
            remedy="remove or replace them",
        )


def _unreadable(found: Survey) -> list[str]:
    bad = len(found.unreadable)
    if not bad:
        return []
    return [
        f"{bad} {'images' if bad > 1 else 'image'} cannot be read and {'are' if bad > 1 else 'is'} left out: "
        f"{some(found.unreadable)}"
    ]
