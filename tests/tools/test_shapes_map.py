# SPDX-License-Identifier: Apache-2.0
"""mAP50 against cases computed by hand."""

from __future__ import annotations

import math
import runpy
from pathlib import Path
from typing import Any

import numpy as np
import pytest

TOOL = runpy.run_path(str(Path(__file__).resolve().parents[2] / "tools" / "shapes_map.py"))
map50, average_precisions, iou = TOOL["map50"], TOOL["average_precisions"], TOOL["iou"]

A = (0.0, 0.0, 10.0, 10.0)
B = (20.0, 0.0, 30.0, 10.0)
FAR = (100.0, 100.0, 110.0, 110.0)


def test_overlaps() -> None:
    half, touching, empty = (0.0, 0.0, 10.0, 5.0), (10.0, 0.0, 20.0, 10.0), (3.0, 3.0, 3.0, 3.0)
    shifted = (5.0, 0.0, 15.0, 10.0)
    result = iou(np.array([A]), np.array([A, half, shifted, touching, empty, FAR]))
    assert result.shape == (1, 6)
    assert result[0] == pytest.approx([1.0, 0.5, 1 / 3, 0.0, 0.0, 0.0])
    assert iou(np.array([empty]), np.array([empty]))[0, 0] == 0.0


def test_perfect_and_nothing() -> None:
    assert map50([[(0, A), (1, B)]], [[(0, 0.9, A), (1, 0.4, B)]]) == 1.0
    assert map50([[(0, A)]], [[]]) == 0.0
    assert map50([[(0, A)]], [[(0, 0.9, FAR)]]) == 0.0


def test_without_truth_there_is_no_figure() -> None:
    assert math.isnan(map50([], []))
    assert math.isnan(map50([[]], [[(0, 0.9, A)]]))


def test_half_the_boxes_found() -> None:
    # Recall reaches 0.5: 51 of the 101 recalls (0 … 0.50) have precision 1.
    assert map50([[(0, A), (0, B)]], [[(0, 0.9, A)]]) == pytest.approx(51 / 101)


def test_a_miss_before_a_hit() -> None:
    # Precision 0/1, then 1/2 at recall 1: the envelope is 1/2 everywhere.
    assert map50([[(0, A)]], [[(0, 0.9, FAR), (0, 0.8, A)]]) == pytest.approx(0.5)
    # A miss of a lower score than every hit costs nothing.
    assert map50([[(0, A)]], [[(0, 0.8, FAR), (0, 0.9, A)]]) == 1.0


def test_hit_miss_hit_over_two_frames() -> None:
    # Precision 1/1, 1/2, 2/3 at recalls 1/2, 1/2, 1: 51 recalls of 1, then 50 of 2/3.
    truths = [[(0, A)], [(0, B)]]
    predictions = [[(0, 0.9, A), (0, 0.8, FAR)], [(0, 0.7, B)]]
    assert map50(truths, predictions) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_a_truth_counts_once() -> None:
    # The second detection of the same box is a miss, but comes after recall 1 was reached.
    assert map50([[(0, A)]], [[(0, 0.9, A), (0, 0.8, A)]]) == 1.0
    # Here it comes before the second hit: precisions 1, 1/2, 2/3.
    predictions = [[(0, 0.9, A), (0, 0.8, A), (0, 0.7, B)]]
    assert map50([[(0, A), (0, B)]], predictions) == pytest.approx((51 + 50 * 2 / 3) / 101)


def test_the_best_overlap_is_claimed() -> None:
    # The first detection overlaps both (0.6 and 1): it takes the second, which leaves the first for the other one.
    near = (0.0, 0.0, 10.0, 6.0)
    assert map50([[(0, near), (0, A)]], [[(0, 0.9, A), (0, 0.8, near)]]) == 1.0


def test_iou_of_exactly_one_half_is_a_hit() -> None:
    assert map50([[(0, A)]], [[(0, 0.9, (0.0, 0.0, 10.0, 5.0))]]) == 1.0
    assert map50([[(0, A)]], [[(0, 0.9, (0.0, 0.0, 10.0, 4.9))]]) == 0.0


def test_frames_and_classes_do_not_mix() -> None:
    assert map50([[(0, A)], []], [[], [(0, 0.9, A)]]) == 0.0
    assert map50([[(0, A)]], [[(1, 0.9, A)]]) == 0.0


def test_mean_over_classes_with_truth() -> None:
    truths = [[(0, A), (2, B)]]
    predictions = [[(0, 0.9, A), (1, 0.9, FAR)]]
    assert average_precisions(truths, predictions) == {0: 1.0, 2: 0.0}
    assert map50(truths, predictions) == 0.5


def test_at_most_100_detections_a_frame() -> None:
    # 100 confident misses push the hit out of what counts.
    misses = [(0, 0.9, FAR)] * 100
    assert map50([[(0, A)]], [[*misses, (0, 0.5, A)]]) == 0.0
    assert map50([[(0, A)]], [[*misses[1:], (0, 0.5, A)]]) == pytest.approx(1 / 100)


def test_order_of_detections_does_not_matter() -> None:
    truths = [[(0, A), (0, B), (1, FAR)]]
    predictions = [(0, 0.9, A), (0, 0.8, FAR), (0, 0.7, B), (1, 0.6, FAR)]
    assert map50(truths, [predictions]) == map50(truths, [predictions[::-1]])


def test_lengths_must_agree() -> None:
    with pytest.raises(ValueError, match="frames"):
        map50([[(0, A)]], [])


def test_agrees_with_the_reference_implementation() -> None:
    coco, cocoeval = pytest.importorskip("pycocotools.coco"), pytest.importorskip("pycocotools.cocoeval")
    rng = np.random.RandomState(0)
    truths: list[Any] = []
    predictions: list[Any] = []
    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for frame in range(60):
        corners = rng.random_sample((rng.randint(1, 8), 2)) * 100
        boxes = [(x, y, x + 20.0, y + 20.0) for x, y in corners.tolist()]
        classes = rng.randint(0, 3, size=len(boxes)).tolist()
        truths.append(list(zip(classes, boxes, strict=True)))
        moved = [tuple((np.array(box) + rng.normal(0, 4, 4)).tolist()) for box in boxes for _ in range(2)]
        guesses = rng.randint(0, 3, size=len(moved)).tolist()
        predictions.append(
            [(g, float(s), b) for g, s, b in zip(guesses, rng.random_sample(len(moved)), moved, strict=True)]
        )
        for class_id, (x1, y1, x2, y2) in truths[-1]:
            box = [x1, y1, x2 - x1, y2 - y1]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": frame,
                    "category_id": class_id,
                    "bbox": box,
                    "area": 400.0,
                    "iscrowd": 0,
                }
            )
        for class_id, score, (x1, y1, x2, y2) in predictions[-1]:
            box = [x1, y1, x2 - x1, y2 - y1]
            results.append({"image_id": frame, "category_id": class_id, "bbox": box, "score": score})
    reference = coco.COCO()
    reference.dataset = {
        "info": {},
        "images": [{"id": frame} for frame in range(60)],
        "annotations": annotations,
        "categories": [{"id": number} for number in range(3)],
    }
    reference.createIndex()
    evaluation = cocoeval.COCOeval(reference, reference.loadRes(results), "bbox")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    assert map50(truths, predictions) == pytest.approx(float(evaluation.stats[1]), abs=1e-9)
