# SPDX-License-Identifier: Apache-2.0
"""Labels of detection: COCO's JSON. Of it ``images``, ``annotations`` and ``categories`` are read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from edged.engine.evaluate.labels import Boxes, Finder, Labels, Names, extra, stranger
from edged.engine.evaluate.words import some
from edged.engine.images import Image
from edged.errors import EngineError

_FORMAT = "https://cocodataset.org/#format-data describes the format"


class _Image(msgspec.Struct):
    id: int
    file_name: str
    width: int | None = None
    height: int | None = None


class _Annotation(msgspec.Struct):
    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    area: float | None = None
    iscrowd: int = 0


class _Category(msgspec.Struct):
    id: int
    name: str


class _Coco(msgspec.Struct):
    images: list[_Image]
    annotations: list[_Annotation]
    categories: list[_Category]


def read_coco(path: Path, images: Sequence[Image], names: Names) -> Labels:
    """Read the boxes of images. An image that the file lists without boxes is one without objects.

    Args:
        path: the JSON file.
        images: whose labels are wanted.
        names: the model's classes. The file's categories are mapped to them by name; by position, the order of their
            ids, where the model has no names, or where both are the same list with some entries spelt otherwise.

    Raises:
        EngineError: it is no such file, has boxes of categories that the model does not know, was made for pictures of
            another size, or has no box for these images.
    """
    where = str(path)
    content = _content(path)
    finder = Finder(images, where)
    found = {one.id: finder.find(one.file_name) for one in content.images}
    positions = {number: position for number, position in found.items() if position is not None}
    _check_sizes(content.images, positions, images, where)
    _check_boxes(content.annotations, where)
    wanted = [one for one in content.annotations if one.image_id in positions]
    numbers, notes = _class_numbers(content, {one.category_id for one in wanted}, names, where)
    if positions and not wanted:
        raise EngineError(
            f"there is no box in any of the {len(positions)} images", where=where, remedy="give images with labels"
        )
    members: dict[int, list[_Annotation]] = {position: [] for position in positions.values()}
    for one in wanted:
        members[positions[one.image_id]].append(one)
    truths = tuple(
        _boxes(members[position], numbers) if position in members else None for position in range(len(images))
    )
    missing = [one.file_name for one in content.images if one.id not in positions]
    return Labels(truths, (*notes, *extra(missing)), tuple(sorted(set(numbers.values()))))


def _content(path: Path) -> _Coco:
    where = str(path)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_Coco)
    except OSError as error:
        raise EngineError(
            f"it cannot be read ({error.strerror})", where=where, remedy="check its permissions"
        ) from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise EngineError(f"it is no COCO file ({error})", where=where, remedy=_FORMAT) from error


def _boxes(annotations: Sequence[_Annotation], numbers: Mapping[int, int]) -> Boxes:
    boxes = np.array([one.bbox for one in annotations], np.float64).reshape(-1, 4)
    areas = [one.bbox[2] * one.bbox[3] if one.area is None else one.area for one in annotations]
    return Boxes(
        boxes,
        np.array([numbers[one.category_id] for one in annotations], np.int64),
        np.array(areas, np.float64),
        np.array([bool(one.iscrowd) for one in annotations], np.bool_),
    )


def _class_numbers(content: _Coco, used: set[int], names: Names, where: str) -> tuple[dict[int, int], tuple[str, ...]]:
    """The model's class of each category id, and what is to be said of it; categories without boxes need none."""
    categories = {one.id: one.name for one in content.categories}
    undeclared = used - set(categories)
    if undeclared:
        raise EngineError(
            f"boxes have the category ids {some(map(str, sorted(undeclared)))}, which are not among its categories",
            where=where,
            remedy=_FORMAT,
        )
    named = {number: place for number, name in categories.items() if (place := names.number(name)) is not None}
    if used <= set(named):
        return named, ()
    by_place = {number: place for place, number in enumerate(sorted(categories))}
    if not names.told:
        if names.count is not None and len(categories) > names.count:
            raise stranger(f"it has {len(categories)} categories", names, where)
        return by_place, (f"its {len(categories)} categories are taken for classes in the order of their ids",)
    unknown = [number for number in sorted(used) if number not in named]
    if _same_order(named, by_place, len(names.names)):
        pairs = some(f"{categories[number]!r} for {names.names[by_place[number]]!r}" for number in unknown)
        return by_place, (f"{len(unknown)} categories are taken by their place in the list: {pairs}",)
    raise stranger(
        f"{len(unknown)} of the {len(used)} categories of its boxes are no classes of the model: "
        f"{some(categories[number] for number in unknown)}",
        names,
        where,
    )


def _same_order(named: Mapping[int, int], by_place: Mapping[int, int], classes: int) -> bool:
    """Whether categories and classes are the same list, some entries of which are spelt otherwise.

    There are two lists of COCO's classes about: one says motorbike and sofa, the other motorcycle and couch.
    """
    in_place = all(by_place[number] == place for number, place in named.items())
    return len(by_place) == classes and in_place and len(named) > classes / 2


def _check_boxes(annotations: Sequence[_Annotation], where: str) -> None:
    for place, one in enumerate(annotations):
        if not all(map(math.isfinite, one.bbox)) or one.bbox[2] < 0 or one.bbox[3] < 0:
            raise EngineError(
                f"annotations[{place}] has the impossible box {list(one.bbox)}",
                where=where,
                remedy="boxes are x, y, width, height in pixels",
            )


def _check_sizes(listed: Sequence[_Image], positions: Mapping[int, int], images: Sequence[Image], where: str) -> None:
    """Boxes are in pixels of the picture that they were drawn on: it must have been of this size."""
    for one in listed:
        position = positions.get(one.id)
        if position is None or one.width is None or one.height is None:
            continue
        image = images[position]
        if (one.width, one.height) != (image.width, image.height):
            raise EngineError(
                f"{one.file_name} is {image.width}x{image.height}, its labels were made for {one.width}x{one.height}",
                where=where,
                remedy="give the images that were labelled (EXIF rotation counts), or labels of these images",
            )
