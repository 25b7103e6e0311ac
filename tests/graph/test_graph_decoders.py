# SPDX-License-Identifier: Apache-2.0
"""Every decoder on outputs built from known boxes, and against its numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.graph import reference
from edged.model import ModelSpec

Arrays = list[NDArray[Any]]
Decode = Callable[..., Arrays]
MakeSpec = Callable[..., ModelSpec]
Floats = NDArray[np.float32]

SIZE = (64, 96)
CELLS = 8 * 12 + 4 * 6 + 2 * 3
# x1, y1, x2, y2 in input pixels, score, class; best first.
BOXES = np.array([[10, 12, 50, 40, 0.9, 2], [0, 0, 96, 64, 0.75, 0], [60.5, 8.25, 70, 9, 0.5, 1]], np.float32)


def centred(boxes: Floats) -> Floats:
    """cx, cy, w, h of corner boxes."""
    result: Floats = np.concatenate([(boxes[:, :2] + boxes[:, 2:4]) / 2, boxes[:, 2:4] - boxes[:, :2]], axis=1)
    return result


def rows_of(boxes: Floats, anchors: list[int], classes: int = 3) -> Floats:
    """[A, 5 + C] with the boxes at these anchors and nothing elsewhere; the score is objectness 0.5 x class."""
    rows = np.zeros((CELLS, 5 + classes), np.float32)
    for box, anchor in zip(boxes, anchors, strict=True):
        rows[anchor, :4] = centred(box[None])[0]
        rows[anchor, 4] = 0.5
        rows[anchor, 5 + int(box[5])] = box[4] * 2
    return rows


def yolox_encoded(rows: Floats, anchors: list[int]) -> Floats:
    """The same boxes as offsets from their cells and log sizes, worked out cell by cell."""
    encoded: Floats = rows.copy()
    for anchor in anchors:
        start, stride = next((s, k) for s, k in ((120, 32), (96, 16), (0, 8)) if anchor >= s)
        row, column = divmod(anchor - start, SIZE[1] // stride)
        encoded[anchor, 0] = rows[anchor, 0] / stride - column
        encoded[anchor, 1] = rows[anchor, 1] / stride - row
        encoded[anchor, 2:4] = np.log(rows[anchor, 2:4] / stride)
    return encoded


def as_model_output(decoder: str, boxes: Floats, anchors: list[int]) -> Floats:
    """What a model of this family would yield for the boxes, [1, ...]."""
    rows = rows_of(boxes, anchors)
    if decoder == "yolox":
        return yolox_encoded(rows, anchors)[None]
    if decoder == "yolov8":
        rows = np.concatenate([rows[:, :4], rows[:, 4:5] * rows[:, 5:]], axis=1).T.copy()
    return rows[None]


def reference_of(decoder: str, output: NDArray[Any], spec: ModelSpec) -> Floats:
    if decoder == "yolox":
        return reference.yolox(output, SIZE, spec.output)
    return {"yolov5": reference.yolov5, "yolov8": reference.yolov8, "end2end": reference.end2end}[decoder](
        output, spec.output
    )


@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8"])
@pytest.mark.parametrize("opset", [13, 17, 18, 21])
def test_known_boxes_come_back(decoder: str, opset: int, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 3})
    anchors = [125, 97, 15]  # one in each grid
    (found,) = decode(spec, as_model_output(decoder, BOXES, anchors), opset=opset)
    np.testing.assert_allclose(found[0], BOXES, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8"])
def test_each_frame_of_a_batch_keeps_its_own_boxes(decoder: str, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 1})
    frames = [as_model_output(decoder, BOXES[[index]], [40 * index]) for index in range(3)]
    (found,) = decode(spec, np.concatenate(frames))
    np.testing.assert_allclose(found[:, 0], BOXES, rtol=1e-5, atol=1e-4)


def random_output(decoder: str, seed: int, batch: int, classes: int, steps: int) -> Floats:
    """Noise in few steps, so that equal scores are frequent."""
    shape = (batch, 4 + classes, CELLS) if decoder == "yolov8" else (batch, CELLS, 5 + classes)
    noise = np.random.default_rng(seed).integers(0, steps, shape) / steps
    return noise.astype(np.float32)


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    decoder=st.sampled_from(["yolox", "yolov5", "yolov8"]),
    seed=st.integers(0, 1000),
    batch=st.integers(1, 3),
    classes=st.integers(1, 7),
    pre_nms=st.sampled_from([1, 2, 17, CELLS - 1, CELLS, CELLS + 1, 3840]),
    steps=st.sampled_from([1, 2, 10, 100000]),
)
def test_equals_the_reference(
    decoder: str,
    seed: int,
    batch: int,
    classes: int,
    pre_nms: int,
    steps: int,
    make_spec: MakeSpec,
    decode: Decode,
) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": pre_nms})
    output = random_output(decoder, seed, batch, classes, steps)
    (found,) = decode(spec, output)
    expected = reference_of(decoder, output, spec)
    assert found.shape == expected.shape == (batch, min(pre_nms, CELLS), 6)
    np.testing.assert_array_equal(found[..., 4:], expected[..., 4:])  # scores and classes, ties included
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8"])
def test_activations_are_applied(decoder: str, activation: str, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 50, "activation": activation})
    output = np.random.default_rng(3).normal(0, 2, random_output(decoder, 0, 2, 5, 1).shape).astype(np.float32)
    (found,), expected = decode(spec, output), reference_of(decoder, output, spec)
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-4)
    assert (found[..., 4] != reference_of(decoder, output, make_spec(decoder=decoder))[..., :50, 4]).all()


@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8"])
def test_a_saturated_sigmoid_still_finds_the_best_class(decoder: str, make_spec: MakeSpec, decode: Decode) -> None:
    """In float32 the sigmoid of 30 and of 40 are both 1."""
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 1, "activation": "sigmoid"})
    output = np.zeros_like(random_output(decoder, 0, 1, 3, 1))
    values = [30, 40, 30] if decoder == "yolov8" else [30, 30, 40, 30]
    (output[0, -len(values) :, 7] if decoder == "yolov8" else output[0, 7, -len(values) :])[:] = values
    (found,) = decode(spec, output)
    assert found[0, 0, 4:].tolist() == [1.0, 1.0]


@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8", "end2end"])
def test_nothing_seen_gives_zero_scores_in_anchor_order(decoder: str, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 20})
    output = np.zeros((1, 40, 6), np.float32) if decoder == "end2end" else random_output(decoder, 0, 1, 3, 1)
    (found,) = decode(spec, output)
    assert not found[..., 4:].any()
    np.testing.assert_allclose(found, reference_of(decoder, output, spec), atol=1e-4)


@pytest.mark.parametrize("decoder", ["yolox", "yolov5", "yolov8", "end2end"])
def test_half_precision_outputs_are_computed_in_single(decoder: str, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder=decoder, input={"size": [*SIZE]}, output={"pre_nms": 30})
    output = random_output(decoder, 4, 2, 3, 50)[..., : 6 if decoder == "end2end" else None].astype(np.float16)
    (found,) = decode(spec, output)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, reference_of(decoder, output, spec), rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("height", [32, 64, 160])
@pytest.mark.parametrize("width", [32, 96])
def test_yolox_finds_its_cells_at_any_size(height: int, width: int, make_spec: MakeSpec, decode: Decode) -> None:
    size = {"min": [32, 32], "opt": [32, 32], "max": [height, width], "multiple": 32}
    spec = make_spec(decoder="yolox", input={"size": size}, output={"pre_nms": 40})
    cells = sum((height // stride) * (width // stride) for stride in (8, 16, 32))
    output = np.random.default_rng(2).random((2, cells, 8), np.float32)
    frames = np.zeros((2, height, width, 3), np.uint8)
    (found,) = decode(spec, output, smallest=21, frames=frames)
    expected = reference.yolox(output, (height, width), spec.output)
    assert found.shape == (2, min(40, cells), 6)  # k follows where a small input has fewer anchors than pre_nms
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("pre_nms", [2, 5, 9])
def test_end2end_keeps_rows_and_orders_them(pre_nms: int, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(decoder="end2end", output={"pre_nms": pre_nms})
    rows = np.concatenate([BOXES[[2, 0, 1]], np.zeros((2, 6), np.float32)])[None]
    (found,) = decode(spec, rows)
    np.testing.assert_array_equal(found[0], np.concatenate([BOXES, rows[0, 3:]])[:pre_nms])


@pytest.mark.parametrize("activation", ["none", "sigmoid", "softmax"])
@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_classification(activation: str, dtype: Any, make_spec: MakeSpec, decode: Decode) -> None:
    output = {"activation": activation, "max_detections": 4}
    spec = make_spec(task="classification", decoder="classification", output=output)
    logits = np.array([[1, 3, -2, 3, 0, 2], [0, 0, 0, 0, 0, 0]], dtype)
    (found,) = decode(spec, logits)
    assert found[:, :, 1].tolist() == [[1, 3, 5, 0], [0, 1, 2, 3]]
    np.testing.assert_allclose(found, reference.classification(logits, spec.output), rtol=1e-5)


def test_classification_with_fewer_classes_than_asked_for(make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(task="classification", decoder="classification")
    (found,) = decode(spec, np.array([[0.25, 0.75]], np.float32))
    assert found.tolist() == [[[0.75, 1.0], [0.25, 0.0]]]


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
@pytest.mark.parametrize("classes", [2, 21, 256])
def test_segmentation_of_scores(classes: int, dtype: Any, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(task="segmentation", decoder="segmentation")
    scores = np.random.default_rng(0).integers(0, 40, (2, classes, 5, 7)).astype(dtype)
    (found,) = decode(spec, scores)
    np.testing.assert_array_equal(found, reference.segmentation(scores))
    assert found.max() >= classes // 2


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64, np.float32, np.float16])
def test_segmentation_of_labels(dtype: Any, make_spec: MakeSpec, decode: Decode) -> None:
    spec = make_spec(task="segmentation", decoder="segmentation")
    labels = np.arange(256).reshape(2, 8, 16).astype(dtype)
    (found,) = decode(spec, labels)
    np.testing.assert_array_equal(found, labels.astype(np.uint8))
