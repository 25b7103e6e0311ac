# SPDX-License-Identifier: Apache-2.0
"""What is known of images: boxes, classes or masks, out of the files that people have."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.words import some
from edged.engine.images import Image
from edged.errors import EngineError
from edged.model import Task


class Boxes(NamedTuple):
    """The objects in an image.

    Attributes:
        boxes: float64 [n, 4], x, y, width, height in source pixels.
        classes: int64 [n], the model's class numbers.
        areas: float64 [n], square pixels.
        crowd: bool [n]; a crowd is neither to be found nor wrong to find.
    """

    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    areas: NDArray[np.float64]
    crowd: NDArray[np.bool_]


class MaskFile(NamedTuple):
    """Where an image's mask lies: see `masks.read_mask`."""

    path: Path
    height: int
    width: int


Truth = Boxes | int | MaskFile
"""Of one image: its objects, its class number, or its mask."""


@dataclass(frozen=True)
class Labels:
    """What is known of some images.

    Attributes:
        truths: for each image; None where nothing is known.
        notes: what the user should know, a sentence each.
        classes: numbers of the classes that the labels tell apart; what else a model finds does not count.
    """

    truths: tuple[Truth | None, ...]
    notes: tuple[str, ...] = ()
    classes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Names:
    """The classes of a model.

    Attributes:
        names: by number; empty where they are not known.
        count: how many; None where that is not known.
    """

    names: Sequence[str]
    count: int | None

    @property
    def told(self) -> bool:
        """Whether the names are more than the numbers that stand in where the model spec has no labels."""
        return any(name != str(number) for number, name in enumerate(self.names))

    def number(self, name: str) -> int | None:
        """The class of a name; case, ``_`` and ``-`` do not matter."""
        return self._numbers().get(_plain(name))

    def has(self, number: int) -> bool:
        """Whether there is a class of this number."""
        return number >= 0 and (self.count is None or number < self.count)

    def _numbers(self) -> dict[str, int]:
        found: dict[str, int] = {}
        for number, name in enumerate(self.names):
            found.setdefault(_plain(name), number)
        return found

    def __str__(self) -> str:
        if self.told:
            return some(self.names)
        return "classes without names" if self.count is None else f"{self.count} classes without names"


class Finder:
    """Finds images by the names that labels have for them.

    Args:
        images: those there are.
        where: of the labels, for messages.
    """

    def __init__(self, images: Sequence[Image], where: str) -> None:
        self._where = where
        self._paths = {str(image): position for position, image in enumerate(images)}
        self._names: dict[str, list[int]] = {}
        for position, image in enumerate(images):
            self._names.setdefault(image.name, []).append(position)

    def find(self, name: str) -> int | None:
        """Position of the image; ``folder/file`` goes before ``file``. None if there is no such image.

        Raises:
            EngineError: several folders have such a file, and the name does not tell which is meant.
        """
        path = PurePosixPath(name.replace("\\", "/"))
        position = self._paths.get("/".join(path.parts[-2:]))
        if position is not None:
            return position
        found = self._names.get(path.name, [])
        if len(found) > 1:
            raise EngineError(
                f"{path.name} is in {len(found)} of the image folders, and the labels do not tell which is meant",
                where=self._where,
                remedy="write folder/file in the labels, or give the files different names",
            )
        return found[0] if found else None


def load_labels(path: Path, task: Task, images: Sequence[Image], names: Names) -> Labels:
    """Read the labels of images.

    Args:
        path: for detection a COCO file (``.json``), for classification a table (``.csv``) of file and class, for
            segmentation a folder of masks.
        task: of the model.
        images: whose labels are wanted.
        names: the model's classes.

    Raises:
        EngineError: the file is missing or not what the task needs, names classes that the model does not have, or
            holds nothing of these images.
    """
    where = str(path)
    if task == "raw":
        raise EngineError(
            "a model of task raw has no labels", where=where, remedy="leave --labels out: FP32 is what it is held to"
        )
    if not path.exists():
        raise EngineError("the labels do not exist", where=where, remedy="correct the path after --labels")
    labels = _read(path, task, images, names)
    missing = [str(image) for image, truth in zip(images, labels.truths, strict=True) if truth is None]
    if len(missing) == len(images):
        raise EngineError(
            f"the labels hold none of the {len(images)} images, the first of which is {images[0]}",
            where=where,
            remedy="give the labels of these images: file names must be the same",
        )
    if not missing:
        return labels
    note = f"{len(missing)} of {len(images)} images have no labels and do not count: {some(missing)}"
    return Labels(labels.truths, (*labels.notes, note), labels.classes)


def _read(path: Path, task: Task, images: Sequence[Image], names: Names) -> Labels:
    """Read what there is by the reader for the task."""
    # Each of them knows this module.
    from edged.engine.evaluate.classes import read_classes
    from edged.engine.evaluate.coco import read_coco
    from edged.engine.evaluate.masks import find_masks

    if task == "detection":
        kind, fits, reader = "a COCO file, .json", path.suffix.lower() == ".json" and path.is_file(), read_coco
    elif task == "classification":
        kind, fits, reader = (
            "a table of file and class, .csv",
            path.suffix.lower() == ".csv" and path.is_file(),
            read_classes,
        )
    else:
        kind, fits, reader = "a folder of PNG masks named like the images", path.is_dir(), find_masks
    if not fits:
        raise EngineError(f"labels for {task} are {kind}; this is not", where=str(path), remedy=f"give {kind}")
    return reader(path, images, names)


def stranger(what: str, names: Names, where: str) -> EngineError:
    """The error for labels that name classes which the model does not have."""
    return EngineError(
        f"{what}; the model knows {names}",
        where=where,
        remedy="give labels made for this model, or correct labels in the model spec",
    )


def extra(files: Sequence[str]) -> tuple[str, ...]:
    """The note on labels whose images are not there."""
    return (f"{len(files)} labelled files are not among the images: {some(files)}",) if files else ()


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())
