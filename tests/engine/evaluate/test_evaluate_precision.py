# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from support.evaluation import boxes, detected

from edged.engine.evaluate.average_precision import Precision, match
from edged.engine.evaluate.findings import Detected
from edged.engine.evaluate.labels import Boxes

ONE = np.ones((1, 1))


def value(truths: list[Boxes], found: list[Detected], classes: tuple[int, ...] = (0,)) -> tuple[float, float]:
    """AP and AP50."""
    matches = match(truths, found, classes)
    ones = np.ones((1, len(truths)))
    return float(Precision(matches).points(ones)[0]), float(Precision(matches, 1).points(ones)[0])


def test_by_hand() -> None:
    truth = boxes((0, 0, 10, 10, 0), (20, 0, 10, 10, 0))
    perfect = detected((0, 0, 10, 10, 0.9, 0), (20, 0, 30, 10, 0.8, 0))
    assert value([truth], [perfect]) == pytest.approx((100, 100))
    # One of two found: recall 0.5 is reached with precision 1, which is 51 of 101 recalls.
    half = detected((0, 0, 10, 10, 0.9, 0))
    assert value([truth], [half]) == pytest.approx((100 * 51 / 101,) * 2)
    # A wrong box before the right one: precision 1/2 up to recall 0.5.
    wrong_first = detected((50, 50, 60, 60, 0.95, 0), (0, 0, 10, 10, 0.9, 0))
    assert value([truth], [wrong_first]) == pytest.approx((100 * 51 / 101 / 2,) * 2)
    # 10 x 7.2 of 10 x 10 is IoU 0.72: right for 5 of the 10 thresholds.
    loose = detected((0, 0, 10, 7.2, 0.9, 0), (20, 0, 30, 7.2, 0.8, 0))
    assert value([truth], [loose]) == pytest.approx((50, 100))
    assert value([truth], [detected()]) == (0, 0)


def test_a_crowd_is_neither_to_be_found_nor_wrong() -> None:
    truth = boxes((0, 0, 10, 10, 0), (20, 0, 30, 30, 0), crowd=[1])
    in_crowd = detected((21, 1, 30, 10, 0.95, 0), (0, 0, 10, 10, 0.9, 0))
    assert value([truth], [in_crowd]) == pytest.approx((100, 100))


def test_classes_without_objects_do_not_count() -> None:
    matches = match([boxes((0, 0, 10, 10, 2))], [detected((0, 0, 10, 10, 0.5, 2), (0, 0, 10, 10, 0.9, 1))], (1, 2))
    assert Precision(matches).points(ONE) == pytest.approx(100)
    assert Precision(matches).by_class() == {2: pytest.approx(100)}
    nothing = match([boxes()], [detected((0, 0, 10, 10, 0.5, 2))], (1, 2))
    assert np.isnan(Precision(nothing).points(ONE)[0])


def scene(seed: int, images: int) -> tuple[list[Boxes], list[Detected]]:
    """Labels, and detections that are about right."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for _ in range(images):
        count = int(rng.integers(0, 6))
        corners, sides = rng.uniform(0, 200, (count, 2)), rng.uniform(10, 80, (count, 2))
        classes = rng.integers(0, 3, count)
        truths.append(Boxes(np.hstack([corners, sides]), classes, sides.prod(axis=1), rng.uniform(size=count) < 0.15))
        guesses = np.hstack([corners, corners + sides]) + rng.normal(0, 4, (count, 4))
        more = rng.uniform(0, 200, (3, 2))
        all_boxes = np.vstack([guesses, np.hstack([more, more + 30])])
        # Scores on a coarse grid, so that some are equal.
        scores = np.round(rng.uniform(0, 1, count + 3), 1)
        order = np.argsort(-scores, kind="stable")
        numbers = np.concatenate([classes, rng.integers(0, 3, 3)])
        found.append(Detected(all_boxes[order], scores[order], numbers[order]))
    return truths, found


def by_cocoeval(truths: list[Boxes], found: list[Detected]) -> tuple[float, float]:
    """The whole of it by pycocotools."""
    annotations: list[dict[str, Any]] = []
    for image, truth in enumerate(truths):
        for box, kind, area, crowd in zip(truth.boxes, truth.classes, truth.areas, truth.crowd, strict=True):
            annotations.append(
                {
                    "id": len(annotations) + 1, "image_id": image, "category_id": int(kind), "bbox": box.tolist(),
                    "area": float(area), "iscrowd": int(crowd),
                }
            )  # fmt: skip
    results = [
        {"image_id": image, "category_id": int(kind), "score": float(score), "bbox": [*box[:2], *(box[2:] - box[:2])]}
        for image, one in enumerate(found)
        for box, score, kind in zip(one.boxes, one.scores, one.classes, strict=True)
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth_set = COCO()
        truth_set.dataset = {
            "images": [{"id": image} for image in range(len(truths))],
            "categories": [{"id": number} for number in range(3)],
            "annotations": annotations,
        }
        truth_set.createIndex()
        evaluation = COCOeval(truth_set, truth_set.loadRes(results), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return 100 * evaluation.stats[0], 100 * evaluation.stats[1]


@pytest.mark.parametrize("seed", range(4))
def test_same_as_cocoeval(seed: int) -> None:
    truths, found = scene(seed, 30)
    expected = by_cocoeval(truths, found)
    assert value(truths, found, (0, 1, 2)) == pytest.approx(expected, abs=1e-9)
    assert 10 < expected[0] < expected[1] < 95, "a case at the edge proves little"


def test_same_when_matched_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    truths, found = scene(9, 25)
    whole = value(truths, found, (0, 1, 2))
    monkeypatch.setattr("edged.engine.evaluate.average_precision._IMAGES_AT_ONCE", 7)
    monkeypatch.setattr("edged.engine.evaluate.average_precision._FLOATS_AT_ONCE", 1)
    assert value(truths, found, (0, 1, 2)) == pytest.approx(whole)


def test_a_weight_of_two_is_the_image_twice() -> None:
    truths, found = scene(5, 12)
    times = [3, 0, 1, 2, 0, 1, 1, 0, 2, 1, 1, 0]
    repeated = [image for image, count in enumerate(times) for _ in range(count)]
    expected = value([truths[one] for one in repeated], [found[one] for one in repeated], (0, 1, 2))
    precision = Precision(match(truths, found, (0, 1, 2)))
    weights = np.array([times, [1] * 12], np.float64)
    assert precision.points(weights)[0] == pytest.approx(expected[0], abs=0.5)  # equal scores may come in another order
    assert precision.points(weights)[1] == pytest.approx(value(truths, found, (0, 1, 2))[0])


def test_pycocotools_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    match([boxes((0, 0, 10, 10, 0))], [detected((0, 0, 10, 10, 0.5, 0))], (0,))
    assert capsys.readouterr().out == ""
