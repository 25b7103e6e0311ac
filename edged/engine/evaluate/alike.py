# SPDX-License-Identifier: Apache-2.0
"""Images that are the same, or look so much alike that the second one tells nothing new.

Two images look alike if they do not differ by more than `TOLERANCE` grey levels anywhere in their small grey pictures
(`Image.look`). On photographs a JPEG copy of quality 30 is within 4 levels, one of half the size within 18 and mostly
within 11, different photographs of COCO differ by at least 92, a video's frames that are a second apart by 150. It
takes a change of a thousandth of the picture's area from black to white to be another picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.words import some
from edged.engine.images import LOOK_SIDE, Image, Survey
from edged.errors import EngineError

TOLERANCE = 16
"""Grey levels of 256."""
FEWEST = 32
"""Different images without which nothing is calibrated."""
ENOUGH = 200
"""Different images below which calibration warns."""

_COARSE = 4

Pair = tuple[Image, Image]


class Overlap(NamedTuple):
    """Evaluation images that calibration has seen, each with the calibration image.

    Attributes:
        same: every pixel is the same.
        near: they look alike.
    """

    same: tuple[Pair, ...]
    near: tuple[Pair, ...]


class Looks:
    """The small pictures of some images, to be searched.

    A coarser picture, whose cells are means of the fine ones' and so never differ more than those, comes first: it
    rules out nearly all.
    """

    def __init__(self, images: Sequence[Image]) -> None:
        self._fine = np.stack([_look(image) for image in images]) if images else np.empty((0, LOOK_SIDE**2), np.int16)
        self._rough = _coarse(self._fine)

    def like(self, image: Image) -> NDArray[np.intp]:
        """Positions of the images that look like this one."""
        fine = _look(image)
        rough = _coarse(fine[np.newaxis])[0]
        maybe = np.flatnonzero((np.abs(self._rough - rough) <= TOLERANCE).all(axis=1))
        found: NDArray[np.intp] = maybe[(np.abs(self._fine[maybe] - fine) <= TOLERANCE).all(axis=1)]
        return found


def overlap(evaluation: Sequence[Image], calibration: Sequence[Image]) -> Overlap:
    """Find evaluation images that are also in the calibration set; each counts once, the same before the alike."""
    known = {image.digest: image for image in calibration}
    looks = Looks(calibration)
    same: list[Pair] = []
    near: list[Pair] = []
    for image in evaluation:
        if image.digest in known:
            same.append((image, known[image.digest]))
            continue
        found = looks.like(image)
        if len(found):
            near.append((image, calibration[int(found[0])]))
    return Overlap(tuple(same), tuple(near))


def refuse_overlap(evaluation: Sequence[Image], calibration: Sequence[Image]) -> None:
    """Make sure that no image that judges a model has taken part in its calibration.

    Raises:
        EngineError: some have; says how many and which.
    """
    found = overlap(evaluation, calibration)
    parts = []
    if found.same:
        parts.append(f"{len(found.same)} with the same pixels ({_pairs(found.same)})")
    if found.near:
        parts.append(f"{len(found.near)} that look alike ({_pairs(found.near)})")
    if parts:
        raise EngineError(
            f"{len(found.same) + len(found.near)} of {len(evaluation)} evaluation images are in the calibration set: "
            f"{' and '.join(parts)}",
            where="evaluation",
            remedy="take them out of one of the two; a model that is judged by what it was fitted to looks better "
            "than it is",
        )


def alike(images: Sequence[Image]) -> list[list[Image]]:
    """Group images that look alike.

    Each group is what looks like its first image, so that a slow pan does not become one group.

    Returns:
        All images; groups in the order of their first images, most of them of one image.
    """
    looks = Looks(images)
    taken: set[int] = set()
    groups = []
    for position, image in enumerate(images):
        if position not in taken:
            members = [int(one) for one in looks.like(image) if int(one) not in taken]
            taken.update(members)
            groups.append([images[one] for one in members])
    return groups


def check_variety(calibration: Survey, fewest: int = FEWEST, enough: int = ENOUGH) -> list[str]:
    """Make sure that calibration images are many and different enough.

    Args:
        calibration: the images.
        fewest: different ones that it takes.
        enough: different ones below which there is a warning.

    Returns:
        Warnings, a sentence each.

    Raises:
        EngineError: they are not; says how many there are, and which look alike.
    """
    groups = alike(calibration.images)
    repeated = [group for group in groups if len(group) > 1]
    total, distinct = len(calibration.images), len(groups)
    spare = total - distinct
    if distinct < fewest:
        what = f"{total} images are too few to calibrate with"
        if spare:
            what = f"of {total} images only {distinct} differ, too few to calibrate with: {_groups(repeated)}"
        raise EngineError(
            f"{what}; {fewest} different ones are the least, {enough} are good",
            where="calibration",
            remedy="add images of what the camera sees, at different times and in different light",
        )
    warnings = []
    if spare:
        warnings.append(f"{spare} of {total} calibration images look like others and add nothing: {_groups(repeated)}")
    if distinct < enough:
        warnings.append(f"{distinct} different calibration images are few: ranges are better known from {enough}")
    return warnings


def _look(image: Image) -> NDArray[np.int16]:
    return np.frombuffer(image.look, np.uint8).astype(np.int16)


def _coarse(fine: NDArray[np.int16]) -> NDArray[np.float32]:
    step = LOOK_SIDE // _COARSE
    cells = fine.reshape(len(fine), _COARSE, step, _COARSE, step)
    means: NDArray[np.float32] = cells.mean(axis=(2, 4), dtype=np.float32).reshape(len(fine), _COARSE**2)
    return means


def _pairs(pairs: Sequence[Pair]) -> str:
    return some(f"{ours} is {theirs}" for ours, theirs in pairs)


def _groups(groups: Sequence[Sequence[Image]]) -> str:
    largest = sorted(groups, key=len, reverse=True)
    return some(f"{len(group) - 1} look like {group[0]} (first {group[1].name})" for group in largest)
