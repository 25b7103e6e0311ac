# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import msgspec
import pytest

from edged.stages.postprocess.plan import PostprocessPlan


def test_travels_as_json() -> None:
    plan = PostprocessPlan(
        task="detection",
        labels=("person", "naïve ☃"),
        score_threshold=0.25,
        iou_threshold=0.65,
        max_detections=7,
        resize="center-crop",
        align="top-left",
        nms=False,
    )
    assert msgspec.json.decode(msgspec.json.encode(plan), type=PostprocessPlan) == plan


@pytest.mark.parametrize(
    "wrong",
    [
        b'{"task":"guessing"}',
        b'{"task":"detection","score_threshold":1.5}',
        b'{"task":"detection","iou_threshold":0}',
        b'{"task":"detection","max_detections":0}',
        b'{"task":"detection","resize":"letter"}',
        b"{}",
    ],
)
def test_nonsense_is_refused(wrong: bytes) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(wrong, type=PostprocessPlan)
