# SPDX-License-Identifier: Apache-2.0
"""How far two models agree on one frame: arrays in, numbers out.

Used at build time (a candidate against FP32) and in production (what was published against FP32). Every measure is in
points from 0 to 100, where 100 is perfect; none prefers one of the two sides, except for the norm of raw outputs, which
is relative to the reference.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError

PERFECT = 100.0
SAME_OBJECT_IOU = 0.5
"""Boxes of one class that overlap so much mean the same object: what PASCAL VOC and AP50 go by."""

Rows = NDArray[np.floating[Any]]


class Agreement(NamedTuple):
    """How far a frame's two results agree.

    Attributes:
        points: 0 to 100.
        score_shift: mean of (score − reference's score) over what both found; None where there is nothing common, or
            where there are no scores.
        empty: whether neither side found anything: perfect, but it says little of a model.
    """

    points: float
    score_shift: float | None = None
    empty: bool = False


class Matches(NamedTuple):
    """Which boxes of two lists mean the same object.

    Attributes:
        pairs: intp [m, 2], row of the first and of the second list; the greatest overlap first.
        ious: float64 [m], their overlap.
    """

    pairs: NDArray[np.intp]
    ious: NDArray[np.float64]


def iou(first: Rows, second: Rows) -> NDArray[np.float64]:
    """Overlap of every box of one list with every box of another: area of the intersection / area of the union.

    Args:
        first: float [n, ≥4], x1, y1, x2, y2 first, in any unit that both share.
        second: float [m, ≥4], likewise.

    Returns:
        float64 [n, m], 0 to 1; boxes without area overlap with nothing, not even themselves.
    """
    a = np.asarray(first, np.float64)[:, None, :4]
    b = np.asarray(second, np.float64)[None, :, :4]
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    common = np.clip(sides, 0.0, None).prod(axis=-1)
    union = _area(a) + _area(b) - common
    found: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return found


def match(first: Rows, second: Rows, threshold: float = SAME_OBJECT_IOU) -> Matches:
    """Pair the boxes of two lists, each with one at the most, of its own class only.

    The pair with the greatest overlap is taken first, then the greatest among those that are left. Equal overlaps go by
    the smaller difference of scores, then by the pair's own numbers: the order of the lists and of the arguments never
    matters.

    Args:
        first: float [n, 6], x1, y1, x2, y2, score, class.
        second: float [m, 6], likewise.
        threshold: least overlap (IoU) of a pair, above 0.
    """
    overlap = iou(first, second) * (first[:, None, 5] == second[None, :, 5])
    rows, columns = np.nonzero(overlap >= threshold)
    a, b = np.asarray(first, np.float64)[rows], np.asarray(second, np.float64)[columns]
    # `lexsort` goes by its last key first. Sums are the same whichever list comes first.
    order = np.lexsort((*(a + b)[:, :5].T, np.abs(a - b)[:, 4], -overlap[rows, columns]))
    free_rows, free_columns = np.ones(len(first), bool), np.ones(len(second), bool)
    kept: list[tuple[int, int]] = []
    for row, column in zip(rows[order].tolist(), columns[order].tolist(), strict=True):
        if free_rows[row] and free_columns[column]:
            free_rows[row] = free_columns[column] = False
            kept.append((row, column))
    pairs = np.asarray(kept, np.intp).reshape(-1, 2)
    return Matches(pairs, overlap[pairs[:, 0], pairs[:, 1]])


def f_measure(matched: int, first: int, second: int) -> float:
    """Share of what two lists have in common: 2 · matched / (first + second), the harmonic mean of precision and recall
    (van Rijsbergen's F1); over many frames sum the counts first.

    Returns:
        0 to 100 points; 100 for two empty lists.
    """
    return PERFECT * 2 * matched / (first + second) if first + second else PERFECT


def detections(ours: Rows, reference: Rows, threshold: float = SAME_OBJECT_IOU) -> Agreement:
    """Agreement on the objects in one frame: `f_measure` of the pairs that `match` finds.

    Args:
        ours: float [n, 6], x1, y1, x2, y2, score, class; what is left after NMS and the score threshold.
        reference: float [m, 6], likewise.
        threshold: least overlap (IoU) of a pair.
    """
    pairs = match(ours, reference, threshold).pairs
    points = f_measure(len(pairs), len(ours), len(reference))
    if not len(pairs):
        return Agreement(points, empty=not len(ours) and not len(reference))
    shift = ours[pairs[:, 0], 4].astype(np.float64) - reference[pairs[:, 1], 4].astype(np.float64)
    return Agreement(points, float(shift.mean()))


def top1(ours: Rows, reference: Rows) -> Agreement:
    """Agreement on the best class of one frame: 100 if it is the same, else 0.

    Args:
        ours: float [n, 2], score, class, best first; empty where no class reached the threshold.
        reference: float [m, 2], likewise. Two empty ones agree.
    """
    if not len(ours) or not len(reference):
        empty = len(ours) == len(reference)
        return Agreement(PERFECT if empty else 0.0, empty=empty)
    if ours[0, 1] != reference[0, 1]:
        return Agreement(0.0)
    return Agreement(PERFECT, float(ours[0, 0]) - float(reference[0, 0]))


def labels(ours: NDArray[np.integer[Any]], reference: NDArray[np.integer[Any]]) -> Agreement:
    """Agreement on a segmentation: 100 · cells of the same class / cells (pixel accuracy).

    Args:
        ours: integer [h, w], one class number a cell.
        reference: likewise, of the same shape.

    Raises:
        InternalError: the shapes differ.
    """
    _same_shape("mask", ours, reference)
    return Agreement(PERFECT * float(np.mean(ours == reference)) if ours.size else PERFECT)


def tensors(ours: Mapping[str, NDArray[Any]], reference: Mapping[str, NDArray[Any]]) -> Agreement:
    """Agreement on raw outputs: 100 · max(0, 1 − e), where e is the greatest `relative_error` of a tensor.

    Args:
        ours: arrays by name.
        reference: likewise; each name must be among ours.

    Raises:
        InternalError: a tensor is missing, or its shape differs.
    """
    missing = sorted(set(reference) - set(ours))
    if missing:
        raise InternalError(f"of the reference's outputs {', '.join(missing)} are missing", where="agreement")
    errors = [relative_error(ours[name], array) for name, array in reference.items()]
    return Agreement(PERFECT * max(0.0, 1.0 - max(errors, default=0.0)))


def relative_error(ours: NDArray[Any], reference: NDArray[Any]) -> float:
    """Distance of two tensors relative to the second: ‖ours − reference‖₂ / ‖reference‖₂.

    Elements that are the same on both sides, NaN and infinite ones included, count as no distance. A NaN or infinity on
    one side only, and any distance from nothing but zeros, are infinitely far.

    Args:
        ours: numbers of any type and shape.
        reference: of the same shape.

    Raises:
        InternalError: the shapes differ.
    """
    _same_shape("output", ours, reference)
    a, b = np.asarray(ours, np.float64).ravel(), np.asarray(reference, np.float64).ravel()
    other = ~((a == b) | (np.isnan(a) & np.isnan(b)))
    if not other.any():
        return 0.0
    if not (np.isfinite(a[other]).all() and np.isfinite(b[other]).all()):
        return float("inf")
    norm = float(np.linalg.norm(b[np.isfinite(b)]))
    return float(np.linalg.norm(a[other] - b[other])) / norm if norm else float("inf")


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    sides: NDArray[np.float64] = np.clip(boxes[..., 2:] - boxes[..., :2], 0.0, None)
    area: NDArray[np.float64] = sides.prod(axis=-1)
    return area


def _same_shape(what: str, ours: NDArray[Any], reference: NDArray[Any]) -> None:
    if ours.shape != reference.shape:
        raise InternalError(
            f"{what} of shape {list(ours.shape)} cannot be compared with one of {list(reference.shape)}",
            where="agreement",
        )
