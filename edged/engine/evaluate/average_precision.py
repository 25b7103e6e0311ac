# SPDX-License-Identifier: Apache-2.0
"""COCO's average precision: pycocotools matches detections to labels, the curve is computed here for any weights.

With all weights 1 it is exactly what `COCOeval.accumulate` gives for all areas and 100 detections of a class in an
image: precision made monotonous, read at the recalls 0, 0.01, …, 1, mean over these, the IoU thresholds and classes.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Detected
from edged.engine.evaluate.labels import Boxes
from edged.engine.evaluate.scores import Floats, Score

THRESHOLDS: Floats = np.linspace(0.5, 0.95, 10)
"""Of the IoU from which on a box is found."""
RECALLS: Floats = np.linspace(0.0, 1.0, 101)
MOST = 100
"""Detections of a class in an image that count."""

_IMAGES_AT_ONCE = 200
_FLOATS_AT_ONCE = 2_000_000
_ANYTHING = [0.0, 1e10]


@dataclass(frozen=True)
class ClassMatches:
    """Detections of one class in all images, best first.

    Attributes:
        images: where each was found, [detections].
        right: by IoU threshold, whether it is an object, [thresholds, detections].
        counts: whether it counts at all; on a crowd it does not.
        objects: how many there are to be found, [images].
    """

    images: NDArray[np.intp]
    right: NDArray[np.bool_]
    counts: NDArray[np.bool_]
    objects: Floats


@dataclass(frozen=True)
class Precision(Score):
    """Average precision.

    Attributes:
        classes: by class number; those without objects do not count.
        thresholds: how many of `THRESHOLDS`, from the lowest on: 10 for AP, 1 for AP50.
    """

    classes: dict[int, ClassMatches]
    thresholds: int = len(THRESHOLDS)

    def at_half(self) -> Precision:
        """The same at an IoU of 0.5 alone."""
        return Precision(self.classes, 1)

    def points(self, weights: Floats) -> Floats:
        """Mean over the classes that have objects in a resample."""
        each = np.full((len(self.classes), len(weights)), np.nan)
        for place, matches in enumerate(self.classes.values()):
            each[place] = self._precision(matches, weights)
        there = ~np.isnan(each)
        total = np.where(there, each, 0.0).sum(axis=0)
        count = there.sum(axis=0)
        return np.where(count > 0, 100 * total / np.maximum(count, 1), np.nan)

    def by_class(self) -> dict[int, float]:
        """Of the classes that have objects."""
        found = {}
        for number, matches in sorted(self.classes.items()):
            if matches.objects.sum() > 0:
                found[number] = 100 * float(self._precision(matches, np.ones((1, len(matches.objects))))[0])
        return found

    def _precision(self, matches: ClassMatches, weights: Floats) -> Floats:
        """From 0 to 1 for each row of weights; NaN without objects."""
        result = np.full(len(weights), np.nan)
        objects = weights @ matches.objects
        there = np.flatnonzero(objects > 0)
        step = max(1, _FLOATS_AT_ONCE // max(matches.right.shape[1], 1))
        for start in range(0, len(there), step):
            rows = there[start : start + step]
            result[rows] = self._curve(matches, weights[rows][:, matches.images], objects[rows])
        return result

    def _curve(self, matches: ClassMatches, weights: Floats, objects: Floats) -> Floats:
        """Area under the curve for weights [rows, detections].

        Recall grows at right detections only, and precision is highest there: nothing else needs to be looked at.
        """
        areas = np.zeros(len(weights))
        seen = np.empty(0)
        counted: NDArray[np.bool_] | None = None
        for right, counts in zip(matches.right[: self.thresholds], matches.counts, strict=False):
            if counted is None or not np.array_equal(counted, counts):  # they differ by crowds only
                counted, seen = counts, np.cumsum(weights * counts, axis=1)
            places = np.flatnonzero(right & counts)
            hits = np.cumsum(weights[:, places], axis=1)
            # np.spacing(1) as in COCOeval: it is what keeps 0 / 0 from happening.
            precision = hits / (seen[:, places] + np.spacing(1))
            precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
            # Each detection answers for the recalls that are reached with it, and were not before.
            reached = np.searchsorted(RECALLS, hits / objects[:, np.newaxis], side="right")
            areas += (precision * np.diff(reached, axis=1, prepend=0)).sum(axis=1)
        return areas / (self.thresholds * len(RECALLS))


def match(truths: Sequence[Boxes], found: Sequence[Detected], classes: Sequence[int]) -> dict[int, ClassMatches]:
    """Match detections to labelled objects.

    Args:
        truths: of each image.
        found: in each image.
        classes: numbers of those that count.

    Returns:
        By class number.
    """
    pieces: dict[int, list[_Piece]] = {number: [] for number in classes}
    for start in range(0, len(truths), _IMAGES_AT_ONCE):
        part = slice(start, start + _IMAGES_AT_ONCE)
        for number, piece in _matched(truths[part], found[part], classes, start):
            pieces[number].append(piece)
    return {number: _joined(several, len(truths)) for number, several in pieces.items()}


@dataclass(frozen=True)
class _Piece:
    """One class in one image: what COCOeval says."""

    image: int
    scores: Floats
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: int


def _matched(
    truths: Sequence[Boxes], found: Sequence[Detected], classes: Sequence[int], first: int
) -> list[tuple[int, _Piece]]:
    """Run COCOeval's matching on a part of the images; it prints, so its output is taken away."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    rows = _rows(found)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = _dataset(truths, classes)
        truth.createIndex()
        # loadRes asks for at least one detection.
        results = truth.loadRes(rows) if rows else None
        if results is None:
            results = COCO()
            results.dataset = {**truth.dataset, "annotations": []}
            results.createIndex()
        evaluation = COCOeval(truth, results, "bbox")
        evaluation.params.imgIds = list(range(len(truths)))
        evaluation.params.catIds = list(classes)
        evaluation.params.areaRng = [_ANYTHING]
        evaluation.params.areaRngLbl = ["all"]
        evaluation.params.maxDets = [MOST]
        evaluation.params.iouThrs = THRESHOLDS
        evaluation.evaluate()
    return [(int(one["category_id"]), _piece(one, first)) for one in evaluation.evalImgs if one is not None]


def _piece(one: dict[str, Any], first: int) -> _Piece:
    shape = (len(THRESHOLDS), len(one["dtScores"]))
    return _Piece(
        image=first + int(one["image_id"]),
        scores=np.asarray(one["dtScores"], np.float64),
        right=np.asarray(one["dtMatches"]).reshape(shape) > 0,
        ignored=np.asarray(one["dtIgnore"]).reshape(shape).astype(np.bool_),
        objects=int(np.sum(np.asarray(one["gtIgnore"]) == 0)),
    )


def _joined(pieces: Sequence[_Piece], images: int) -> ClassMatches:
    objects = np.zeros(images)
    for piece in pieces:
        objects[piece.image] = piece.objects
    nothing = np.empty((len(THRESHOLDS), 0), np.bool_)
    scores = np.concatenate([piece.scores for piece in pieces] or [np.empty(0)])
    order = np.argsort(-scores, kind="stable")
    places = np.repeat([piece.image for piece in pieces], [len(piece.scores) for piece in pieces]).astype(np.intp)
    right = np.concatenate([piece.right for piece in pieces] or [nothing], axis=1)[:, order]
    ignored = np.concatenate([piece.ignored for piece in pieces] or [nothing], axis=1)[:, order]
    return ClassMatches(places[order], right, ~ignored, objects)


def _dataset(truths: Sequence[Boxes], classes: Sequence[int]) -> dict[str, list[dict[str, Any]]]:
    annotations = [
        {"image_id": image, "category_id": kind, "bbox": box, "area": area, "iscrowd": int(crowd)}
        for image, truth in enumerate(truths)
        for kind, box, area, crowd in zip(*(part.tolist() for part in _parts(truth)), strict=True)
    ]
    # From 1 on: COCOeval takes the object with the id 0 for none.
    numbered = [{**one, "id": number} for number, one in enumerate(annotations, 1)]
    images = [{"id": image} for image in range(len(truths))]
    return {"images": images, "annotations": numbered, "categories": [{"id": number} for number in classes]}


def _parts(truth: Boxes) -> tuple[NDArray[Any], ...]:
    return truth.classes, truth.boxes, truth.areas, truth.crowd


def _rows(found: Sequence[Detected]) -> list[dict[str, Any]]:
    rows = []
    for image, one in enumerate(found):
        sizes = np.concatenate([one.boxes[:, :2], one.boxes[:, 2:] - one.boxes[:, :2]], axis=1)
        for kind, score, box in zip(one.classes.tolist(), one.scores.tolist(), sizes.tolist(), strict=True):
            rows.append({"image_id": image, "category_id": kind, "bbox": box, "score": score})
    return rows
