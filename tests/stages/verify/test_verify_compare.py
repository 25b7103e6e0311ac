# SPDX-License-Identifier: Apache-2.0
"""Outputs of the prepared graph are compared as they would be published: thresholds, NMS and padding apply."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edged.records import FrameRecord
from edged.runtime.verify_work import covered_by
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor
from edged.stages.verify.compare import Comparer

# A picture of 100×50 in an input of 32×32: 8 rows of padding above and below.
FRAME = FrameRecord(0, 1, 2, 3, 100, 50, 32, 32)


def comparer(task: Any, **fields: Any) -> Comparer:
    plan = PostprocessPlan(task=task, **fields)
    return Comparer(task, Postprocessor(plan).run, covered_by(plan))


def rows(*values: list[float]) -> dict[str, NDArray[Any]]:
    return {"detections": np.asarray([values], np.float32)}


def test_only_what_would_be_published_counts() -> None:
    ours = rows([2, 10, 12, 20, 0.9, 0], [3, 10, 12, 20, 0.8, 0], [20, 10, 30, 20, 0.1, 1], [0, 0, 5, 5, 0.9, 2])
    reference = rows([2, 10, 12, 20, 0.7, 0], [20, 10, 30, 20, 0.2, 1])
    # The second goes by NMS, the third by its score, the fourth lies in the padding.
    found = comparer("detection").compare(ours, reference, FRAME)
    assert found.points == 100.0
    assert found.score_shift == pytest.approx(0.2)
    missed = comparer("detection", score_threshold=0.15).compare(ours, reference, FRAME)
    assert missed.points == pytest.approx(100 * 2 / 3)


def test_nothing_found_on_either_side_is_empty() -> None:
    assert comparer("detection").compare(rows([0] * 6), rows([0] * 6), FRAME) == (100.0, None, True)
    nothing = {"classes": np.zeros((1, 1, 2), np.float32)}
    assert comparer("classification").compare(nothing, nothing, FRAME) == (100.0, None, True)


@pytest.mark.parametrize(("number", "points"), [(3, 100.0), (4, 0.0)])
def test_the_best_class_decides(number: int, points: float) -> None:
    ours = {"classes": np.asarray([[[0.9, number], [0.05, 3]]], np.float32)}
    reference = {"classes": np.asarray([[[0.8, 3], [0.1, 4]]], np.float32)}
    assert comparer("classification").compare(ours, reference, FRAME).points == points


def test_padding_does_not_make_masks_agree() -> None:
    ours, reference = np.zeros((1, 32, 32), np.uint8), np.zeros((1, 32, 32), np.uint8)
    reference[0, 8:24] = 1
    assert comparer("segmentation").compare({"mask": ours}, {"mask": reference}, FRAME).points == 0.0
    ours[0, 8:12] = 1
    assert comparer("segmentation").compare({"mask": ours}, {"mask": reference}, FRAME).points == 25.0


def test_raw_outputs_are_compared_as_they_are() -> None:
    reference = {"y": np.asarray([[3.0, 4.0]], np.float32)}
    ours = {"y": np.asarray([[3.0, 4.5]], np.float32)}
    assert comparer("raw").compare(ours, reference, FRAME).points == pytest.approx(90.0)
