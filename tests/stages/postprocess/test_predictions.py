# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET
from numpy.typing import NDArray
from support.frame_records import frame

from edged.errors import InternalError
from edged.geometry import Align, Resize, Size
from edged.messages import ClassScore, Detection, Tensor
from edged.records import FrameRecord
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor

LABELS = ("circle", "square", "triangle")


def batch(*rows: Sequence[float], k: int = 0) -> dict[str, NDArray[Any]]:
    """A batch of three frames whose middle one holds the rows, then rows of zeros up to k."""
    detections = np.full((3, max(k, len(rows)), 6), 0.5, np.float32)
    detections[1] = 0
    if rows:
        detections[1, : len(rows)] = rows
    return {"detections": detections}


def detect(outputs: dict[str, NDArray[Any]], record: FrameRecord | None = None, **plan: Any) -> list[Detection]:
    result = Postprocessor(PostprocessPlan(task="detection", labels=LABELS, **plan)).run(outputs, 1, record or frame())
    assert isinstance(result.detections, list)
    assert (result.classes, result.mask, result.tensors, result.blobs) == (UNSET, UNSET, UNSET, [])
    return result.detections


@pytest.mark.parametrize(
    ("resize", "align", "box"),
    [
        ("letterbox", "center", (300.0, 30.0, 600.0, 330.0)),
        ("letterbox", "top-left", (300.0, 450.0, 600.0, 750.0)),
        ("stretch", "center", (300.0, 253.13, 600.0, 421.88)),
        ("center-crop", "center", (588.75, 253.13, 757.5, 421.88)),
    ],
)
def test_known_box_in_every_resize_mode(resize: Resize, align: Align, box: tuple[float, float, float, float]) -> None:
    found = detect(batch((100, 150, 200, 250, 0.75, 1), k=10), resize=resize, align=align)
    (only,) = found
    assert (only.label, only.class_id, only.score) == ("square", 1, 0.75)
    assert only.box == pytest.approx(box, abs=0.0101)


def test_overlaps_go_per_class_best_first_and_no_more_than_asked() -> None:
    rows = [
        (100, 150, 200, 250, 0.9, 0),
        (101, 151, 201, 251, 0.8, 0),  # the same circle
        (100, 150, 200, 250, 0.7, 2),  # a triangle in the same place
        (300, 150, 400, 250, 0.6, 0),
        (300, 300, 400, 400, 0.29, 0),  # below the threshold
    ]
    found = detect(batch(*rows, k=50))
    assert [(d.label, d.score) for d in found] == [("circle", 0.9), ("triangle", 0.7), ("circle", 0.6)]
    assert [d.score for d in detect(batch(*rows, k=50), max_detections=2)] == [0.9, 0.7]
    assert [d.score for d in detect(batch(*rows, k=50), score_threshold=0.29)] == [0.9, 0.7, 0.6, 0.29]


def test_end_to_end_models_are_believed_and_sorted() -> None:
    rows = [(101, 151, 201, 251, 0.8, 0), (100, 150, 200, 250, 0.9, 0), (0, 0, 0, 0, 0, -1)]
    assert [d.score for d in detect(batch(*rows), nms=False)] == [0.9, 0.8]


def test_rows_that_fill_up_are_never_published() -> None:
    assert (
        detect(batch((0, 0, 10, 10, 0, 0), (5, 5, 20, 20, 0.9, -1), k=9), score_threshold=0.0, resize="stretch") == []
    )


def test_a_score_of_exactly_the_threshold_counts() -> None:
    assert len(detect(batch((100, 150, 200, 250, 0.3, 1)), score_threshold=0.3)) == 1


def test_boxes_are_clipped_and_those_in_the_padding_dropped_before_the_count() -> None:
    rows = [
        (100, 10, 200, 100, 0.9, 0),  # wholly in the padding above
        (-50, 100, 700, 600, 0.8, 0),  # reaches beyond every edge
        (10, 200, 20, 210, 0.7, 1),
    ]
    found = detect(batch(*rows), max_detections=2)
    assert [d.score for d in found] == [0.8, 0.7]
    assert found[0].box == (0.0, 0.0, 1920.0, 1080.0)


def test_a_class_beyond_the_labels_goes_by_its_number() -> None:
    found = detect(batch((100, 150, 200, 250, 0.9, 3), (300, 150, 400, 250, 0.8, 2)))
    assert [(d.label, d.class_id) for d in found] == [("3", 3), ("triangle", 2)]


def test_no_anchors_at_all() -> None:
    assert detect({"detections": np.zeros((3, 0, 6), np.float32)}) == []


@pytest.mark.parametrize("column", range(6))
@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_broken_number_loses_its_box_and_no_other(column: int, broken: float) -> None:
    bad = [100.0, 150.0, 200.0, 250.0, 0.9, 0.0]
    bad[column] = broken
    good = (300, 150, 400, 250, 0.8, 1)
    assert [d.score for d in detect(batch(bad, good))] == [0.8]


@pytest.mark.parametrize("row", [(200, 150, 100, 250, 0.9, 0), (100, 150, 100, 250, 0.9, 0), (1, 1, 9, 9, 0.9, 1e20)])
def test_a_box_without_area_or_class_is_dropped(row: Sequence[float]) -> None:
    assert detect(batch(row), resize="stretch") == []


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.floats(width=32), min_size=6, max_size=6), max_size=12),
    st.sampled_from(["letterbox", "stretch", "center-crop"]),
    st.tuples(st.integers(1, 5000), st.integers(1, 5000)),
    st.booleans(),
)
def test_whatever_comes_out_of_the_model_is_valid_json_inside_the_frame(
    rows: list[list[float]], resize: Resize, source: Size, nms: bool
) -> None:
    found = detect(batch(*rows), frame(source), resize=resize, nms=nms, score_threshold=0.0)
    text = msgspec.json.encode(found)
    json.loads(text, parse_constant=pytest.fail)
    assert b"null" not in text  # how msgspec writes NaN
    for one in msgspec.json.decode(text, type=list[Detection]):
        x1, y1, x2, y2 = one.box
        assert 0 <= x1 < x2 <= source[1]
        assert 0 <= y1 < y2 <= source[0]


@pytest.mark.parametrize("source", [(1, 4000), (4000, 1), (1, 1)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "center-crop"])
def test_degenerate_frames(source: Size, resize: Resize) -> None:
    (found,) = detect(batch((0, 0, 640, 640, 0.9, 0)), frame(source), resize=resize)
    x1, y1, x2, y2 = found.box
    assert 0 <= x1 < x2 <= source[1]
    assert 0 <= y1 < y2 <= source[0]
    if resize != "center-crop":
        assert found.box == (0, 0, source[1], source[0])


def test_frames_of_one_batch_and_many_sizes_do_not_mix() -> None:
    post = Postprocessor(PostprocessPlan(task="detection", resize="stretch"))
    outputs = {"detections": np.array([[[0, 0, 64, 64, 0.9, 0]], [[64, 64, 128, 128, 0.8, 1]]], np.float32)}
    for side in list(range(640, 1640, 10)) * 2:  # more sizes than are remembered
        record = frame((side, side * 2))
        first, second = (post.run(outputs, i, record).detections for i in (0, 1))
        assert isinstance(first, list)
        assert isinstance(second, list)
        assert first[0].box == pytest.approx((0, 0, side / 5, side / 10), abs=0.0051)
        assert second[0].box == pytest.approx((side / 5, side / 10, side / 2.5, side / 5), abs=0.0051)


def classify(rows: Sequence[Sequence[float]], threshold: float = 0.3) -> list[ClassScore]:
    plan = PostprocessPlan(task="classification", labels=LABELS, score_threshold=threshold)
    outputs = {"classes": np.array([[(1.0, 0)] * len(rows), rows], np.float32).reshape(2, -1, 2)}
    result = Postprocessor(plan).run(outputs, 1, frame())
    assert isinstance(result.classes, list)
    assert (result.detections, result.mask, result.tensors, result.blobs) == (UNSET, UNSET, UNSET, [])
    return result.classes


def test_classes_best_first_from_the_threshold_on() -> None:
    found = classify([(0.25, 0), (0.3, 7), (0.45, 2)])
    assert [(c.label, c.class_id, c.score) for c in found] == [("triangle", 2, 0.45), ("7", 7, 0.3)]
    assert classify([(0.25, 0)]) == []
    assert [c.class_id for c in classify([(0.0, 1), (0.0, 0)], threshold=0.0)] == [1, 0]


def test_broken_classes_are_dropped() -> None:
    rows = [(np.nan, 0), (np.inf, 1), (0.9, np.nan), (0.8, -1), (0.7, 1)]
    assert [c.score for c in classify(rows)] == [0.7]


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool", ">f4", ">i2"])
def test_raw_tensors_come_back_as_they_were(dtype: str) -> None:
    values = np.arange(2 * 3 * 5).reshape(2, 3, 5).transpose(0, 2, 1).astype(dtype)
    outputs = {"logits": values, "count": np.array([7, 8], np.int32)}
    result = Postprocessor(PostprocessPlan(task="raw")).run(outputs, 1, frame())
    tensors = result.tensors
    assert isinstance(tensors, list)
    assert tensors == [
        Tensor(name="logits", blob=0, shape=[5, 3], dtype=np.dtype(dtype).name),
        Tensor(name="count", blob=1, shape=[], dtype="int32"),
    ]
    for tensor, expected in zip(tensors, (values[1], outputs["count"][1]), strict=True):
        little = np.dtype(tensor.dtype).newbyteorder("<")
        np.testing.assert_array_equal(np.frombuffer(result.blobs[tensor.blob], little).reshape(tensor.shape), expected)


def test_raw_tensors_may_hold_nan_since_they_are_no_json() -> None:
    result = Postprocessor(PostprocessPlan(task="raw")).run({"x": np.array([[np.nan, 1.0]])}, 0, frame())
    np.testing.assert_array_equal(np.frombuffer(result.blobs[0]), [np.nan, 1.0])


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("detection", {"raw": np.zeros((1, 4, 6), np.float32)}),
        ("detection", {"detections": np.zeros((1, 4, 5), np.float32)}),
        ("detection", {"detections": np.zeros((4, 6), np.float32)}),
        ("classification", {"classes": np.zeros((1, 6), np.float32)}),
        ("segmentation", {"mask": np.zeros((1, 4, 4), np.float32)}),
        ("segmentation", {"mask": np.zeros((1, 1, 4, 4), np.uint8)}),
    ],
)
def test_outputs_of_another_form_are_named(task: Any, outputs: dict[str, NDArray[Any]]) -> None:
    with pytest.raises(InternalError, match=r"postprocess: .*(mask|detections|classes)"):
        Postprocessor(PostprocessPlan(task=task)).run(outputs, 0, frame())


def test_nothing_published_shares_memory_with_the_outputs() -> None:
    outputs = {"x": np.arange(6, dtype=np.float32).reshape(1, 6)}
    result = Postprocessor(PostprocessPlan(task="raw")).run(outputs, 0, frame())
    outputs["x"][:] = -1
    np.testing.assert_array_equal(np.frombuffer(result.blobs[0], np.float32), np.arange(6))


def test_the_publish_process_stays_small() -> None:
    code = (
        "import sys, edged.stages.postprocess.predictions\n"
        "heavy = {'onnx', 'onnxruntime', 'pydantic', 'zmq', 'rich'} & set(sys.modules)\n"
        "sys.exit(', '.join(sorted(heavy)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
