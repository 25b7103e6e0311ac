# SPDX-License-Identifier: Apache-2.0
"""Average precision at IoU 0.5 of detections against ground truth: one pure function, numpy only.

The figure is that of the COCO evaluation (all areas, at most 100 detections a frame), for one IoU threshold. For each
class that has ground truth at all:

1. In each frame, detections are taken by falling score; each claims the still unclaimed truth box of its class that it
   overlaps most, if their intersection over union is at least 0.5, and is then a hit, else a miss.
2. Over all frames, by falling score: recall r(k) = hits(k) / truths, precision p(k) = hits(k) / k.
3. AP = mean over the 101 recalls R = 0, 0.01, …, 1 of the best precision at recall R or more (0 where R isn't reached).

mAP50 is the mean of AP over these classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[float, float, float, float]
"""x1, y1, x2, y2 in pixels."""
Truth = tuple[int, Box]
"""Class and box."""
Prediction = tuple[int, float, Box]
"""Class, score and box."""

IOU = 0.5
MAX_DETECTIONS = 100
_RECALLS = np.linspace(0.0, 1.0, 101)


def map50(truths: Sequence[Sequence[Truth]], predictions: Sequence[Sequence[Prediction]]) -> float:
    """Mean average precision at IoU 0.5, 0 … 1, of `predictions[i]` against `truths[i]` for every frame i.

    NaN when there is no truth at all.
    """
    if len(truths) != len(predictions):
        raise ValueError(f"{len(truths)} frames of truth but {len(predictions)} of predictions")
    precisions = average_precisions(truths, predictions)
    return float(np.mean(list(precisions.values()))) if precisions else float("nan")


def average_precisions(
    truths: Sequence[Sequence[Truth]], predictions: Sequence[Sequence[Prediction]]
) -> dict[int, float]:
    """Average precision at IoU 0.5 of each class that has truth boxes."""
    classes = sorted({class_id for frame in truths for class_id, _ in frame})
    best = [sorted(frame, key=lambda item: -item[1])[:MAX_DETECTIONS] for frame in predictions]
    return {class_id: _average_precision(truths, best, class_id) for class_id in classes}


def _average_precision(
    truths: Sequence[Sequence[Truth]], predictions: Sequence[Sequence[Prediction]], class_id: int
) -> float:
    total, scores, hits = 0, [], []
    for frame_truths, frame_predictions in zip(truths, predictions, strict=True):
        boxes = [box for number, box in frame_truths if number == class_id]
        found = [(score, box) for number, score, box in frame_predictions if number == class_id]
        total += len(boxes)
        scores += [score for score, _ in found]
        hits += _match(boxes, [box for _, box in found])
    # Stable, so that equal scores keep the order of frames, as in the reference implementation.
    order = np.argsort(-np.asarray(scores, np.float64), kind="stable")
    hit_counts = np.cumsum(np.asarray(hits, np.float64)[order])
    recall = hit_counts / total
    precision = hit_counts / np.arange(1, len(hit_counts) + 1)
    envelope = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(np.mean(envelope[np.searchsorted(recall, _RECALLS, side="left")]))


def _match(truths: Sequence[Box], found: Sequence[Box]) -> list[bool]:
    """For each found box, by falling score, whether it claims a truth box."""
    if not truths:
        return [False] * len(found)
    free = np.ones(len(truths), bool)
    result = []
    for overlaps in iou(np.asarray(found, np.float64).reshape(-1, 4), np.asarray(truths, np.float64)):
        candidate = int(np.argmax(np.where(free, overlaps, -1.0)))
        hit = bool(free[candidate] and overlaps[candidate] >= IOU)
        free[candidate] &= not hit
        result.append(hit)
    return result


def iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of every box of `first` (n x 4) with every one of `second` (m x 4): n x m, 0 … 1."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    common = np.prod(np.clip(high - low, 0.0, None), axis=2)
    areas = [np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (first, second)]
    union = areas[0][:, None] + areas[1][None, :] - common
    result: NDArray[np.float64] = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return result
