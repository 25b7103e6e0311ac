# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from support.evaluation import Answers, boxes, images_of, model_spec, prepared_model, rows, write_images

from edged.engine.evaluate import findings
from edged.engine.evaluate.evaluator import Evaluator, names_of
from edged.engine.evaluate.labels import Labels, MaskFile
from edged.engine.evaluate.options import EvaluationOptions
from edged.engine.evaluate.result import Evaluation
from edged.engine.images import FrameBatches, Survey, load, survey
from edged.errors import EngineError
from edged.records import TensorSpec

DETECTION = model_spec("detection")
CLASSES = model_spec("classification")
PERSON, CAR = (4.0, 4.0, 24.0, 40.0, 0.9, 0), (30.0, 10.0, 60.0, 30.0, 0.8, 1)


@pytest.fixture
def images(tmp_path: Path) -> Survey:
    return images_of(tmp_path / "val", 4)


def detections(images: Survey, *answers: Any) -> Answers:
    return Answers("detections", images.images, [rows(*answer) for answer in answers])


def evaluator(images: Survey, reference: Any, spec: Any = DETECTION, **fields: Any) -> Evaluator:
    prepared = prepared_model(spec, fixed_batch=fields.pop("fixed_batch", None))
    return Evaluator(spec, prepared, images, reference, **fields)


def test_detection_with_labels(images: Survey) -> None:
    both = [PERSON, CAR]
    truths = (
        boxes((4, 4, 20, 36, 0), (30, 10, 30, 20, 1)), boxes((4, 4, 20, 36, 0)), boxes(), None,
    )  # fmt: skip
    labels = Labels(truths, ("a note",), (0, 1))
    judge = evaluator(images, detections(images, both, [PERSON], [], both), labels=labels)
    assert len(judge.images) == 3
    same = judge.loss(detections(images, both, [PERSON], [], []))
    assert (same.kind, same.metric, same.loss, same.error) == ("labels", "AP", 0, 0)
    assert same.value == pytest.approx(100)
    assert (same.images, same.labels, same.notes, same.worst) == (3, 3, ("a note",), ())
    assert judge.reference() == same
    lost = judge.loss(detections(images, [PERSON], [PERSON], [], []))
    assert lost.loss == pytest.approx(50)
    assert {name: figure.loss for name, figure in lost.per_class.items()} == pytest.approx({"person": 0, "car": 100})
    assert lost.figures["AP50"].loss == pytest.approx(50)
    # 2 x 3 strong detections, of which the car has no partner.
    assert lost.figures["agreement at IoU 0.5"].value == pytest.approx(100 * 4 / 5)
    assert lost.error is not None
    assert lost.error > 1
    (worst,) = lost.worst
    assert (worst.name, worst.difference, len(worst.reference.boxes), len(worst.value.boxes)) == ("val/00.png", 1, 2, 1)
    assert str(lost).startswith("AP 50.0 against 100.0 of FP32: 50.0 ±")
    assert str(lost).endswith("points lost on 3 images with 3 labels")


def test_weak_detections_count_for_precision_but_not_for_agreement(images: Survey) -> None:
    weak = (*CAR[:4], 0.01, 1)
    labels = Labels((boxes((30, 10, 30, 20, 1)), boxes(), boxes(), boxes()), (), (1,))
    found = evaluator(images, detections(images, [], [], [], []), labels=labels).loss(
        detections(images, [weak], [weak], [], [])
    )
    assert found.reference == 0
    assert found.value == pytest.approx(100)
    assert found.figures["agreement at IoU 0.5"].loss == 0
    assert evaluator(images, detections(images, [], [], [], [])).loss(detections(images, [weak], [], [], [])).loss == 0


def test_detection_without_labels(images: Survey) -> None:
    judge = evaluator(images, detections(images, [PERSON, CAR], [PERSON], [], [CAR]))
    shifted = (*PERSON[:4], 0.7, 0)
    found = judge.loss(detections(images, [shifted, CAR], [PERSON], [CAR], [CAR]))
    assert (found.kind, found.metric, found.reference) == ("agreement", "agreement at IoU 0.5", 100)
    assert found.loss == pytest.approx(100 / 9)
    assert {name: figure.loss for name, figure in found.per_class.items()} == pytest.approx({"person": 0, "car": 20})
    shift = found.score_shift
    assert shift is not None
    assert shift.pairs == 4
    assert [shift.mean, shift.absolute] == pytest.approx([-0.05, 0.05])
    assert found.histograms is not None
    assert (sum(found.histograms.reference), sum(found.histograms.value)) == (4, 5)
    assert (found.histograms.reference[18], found.histograms.value[18]) == (2, 1)
    assert [worst.name for worst in found.worst] == ["val/02.png"]
    assert "no labels: agreement with FP32" in str(found)
    assert msgspec.json.decode(msgspec.json.encode(found), type=Evaluation) == found


def test_boxes_are_in_source_pixels_and_suppressed_as_published(tmp_path: Path) -> None:
    images = images_of(tmp_path / "large", 1, size=(96, 128))
    spec = model_spec("detection", input={"size": [48, 64]})
    shrunk = cv2.resize(load(images.images[0]), (64, 48), interpolation=cv2.INTER_LINEAR)
    nearly = (5.0, 4.0, 24.0, 40.0, 0.85, 0)

    def run(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
        np.testing.assert_array_equal(frames[0], shrunk)
        return {"detections": rows(PERSON, nearly)[np.newaxis]}

    labels = Labels((boxes((8, 8, 40, 72, 0)),), (), (0,))
    judge = evaluator(images, run, spec, labels=labels)
    found = judge.loss(run)
    assert found.value == pytest.approx(100)
    assert found.error is None
    assert sum(found.histograms.value) == 1 if found.histograms else False
    loose = evaluator(images, run, spec, labels=labels, options=EvaluationOptions(iou_threshold=0.99)).loss(run)
    assert sum(loose.histograms.value) == 2 if loose.histograms else False


def test_classification(images: Survey) -> None:
    def answers(*best: tuple[int, float]) -> Answers:
        # Scores below the threshold, and even negative ones, are answers all the same.
        table = [np.array([[score, kind], [score - 1, (kind + 1) % 3]], np.float32) for kind, score in best]
        return Answers("classes", images.images, table)

    fp32 = answers((0, 0.9), (1, 0.2), (2, -3.0), (0, 0.6))
    candidate = answers((0, 0.8), (2, 0.2), (2, -3.0), (1, 0.6))
    agreed = evaluator(images, fp32, CLASSES).loss(candidate)
    assert (agreed.metric, agreed.loss) == ("agreement", 50)
    assert [one.name for one in agreed.worst] == ["val/03.png", "val/01.png"]
    assert agreed.worst[0].reference.classes[0] == pytest.approx((0, 0.6))
    assert agreed.score_shift is not None
    assert agreed.score_shift.pairs == 2  # the other two do not have FP32's class any more
    judge = evaluator(images, fp32, CLASSES, labels=Labels((0, 2, 2, 1)))
    found = judge.loss(candidate)
    assert (found.metric, found.reference, found.value, found.labels) == ("top-1", 50, 100, 4)
    assert found.loss == -50
    assert found.per_class["car"].loss == -100
    assert found.figures["agreement"].value == 50


def test_segmentation(tmp_path: Path, images: Survey) -> None:
    spec = model_spec("segmentation")
    truth = np.zeros((48, 64), np.uint8)
    truth[:, 32:] = 1
    path = tmp_path / "mask.png"
    assert cv2.imwrite(str(path), truth)
    right = np.zeros((6, 8), np.uint8)
    right[:, 4:] = 1
    wrong = np.zeros((6, 8), np.uint8)
    wrong[:, 6:] = 1
    fp32 = Answers("mask", images.images, [right] * 4)
    candidate = Answers("mask", images.images, [right, right, right, wrong])
    judge = evaluator(images, fp32, spec, labels=Labels((MaskFile(path, 48, 64),) * 4))
    found = judge.loss(candidate)
    # Of 4 images with halves of 16: class 0 is 16 of 18, class 1 is 14 of 16.
    expected = 100 * (16 / 18 + 14 / 16) / 2
    assert (found.metric, found.reference, found.labels) == ("mIoU", 100, 4 * 48 * 64)
    assert found.value == pytest.approx(expected)
    assert found.figures["agreement (mIoU)"].value == pytest.approx(expected)
    assert found.score_shift is None
    (worst,) = found.worst
    assert (worst.name, worst.difference) == ("val/03.png", 25)
    assert worst.value.mask is not None
    decoded = cv2.imdecode(np.frombuffer(judge.picture(worst), np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    assert decoded.shape == (48 + 22, 2 * 64 + 8, 3)
    assert evaluator(images, fp32, spec).loss(candidate).loss == pytest.approx(100 - expected)
    assert found.without_pictures().worst[0].value.mask is None


def test_raw(images: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = model_spec("raw")
    ones = np.ones((4, 5), np.float32)
    fp32 = Answers("tensor", images.images, [ones] * 4)
    found = evaluator(images, fp32, spec).loss(Answers("tensor", images.images, [ones, ones, ones, ones * 0.8]))
    assert found.loss == pytest.approx(100 * np.sqrt(0.04 / 4))
    assert list(found.per_class) == ["tensor"]
    assert found.worst[0].difference == pytest.approx(20, abs=1e-4)
    monkeypatch.setattr(findings, "SAMPLES", 3)
    few = evaluator(images, fp32, spec)
    assert few.loss(Answers("tensor", images.images, [ones * 0.8] * 4)).loss == pytest.approx(20, abs=1e-4)


def test_a_fixed_batch_is_filled_up(images: Survey) -> None:
    run = detections(images, [PERSON], [CAR], [], [PERSON])
    found = evaluator(images, run, fixed_batch=3).loss(run)
    assert found.loss == 0
    assert run.batches == [3, 3, 3, 3]
    run = detections(images, [PERSON], [CAR], [], [PERSON])
    evaluator(images, run, options=EvaluationOptions(batch=3))
    assert run.batches == [3, 1]


def test_folders_are_judged_apart(tmp_path: Path) -> None:
    images = survey([write_images(tmp_path / "day", 2), write_images(tmp_path / "night", 2, seed=1)])
    found = evaluator(images, detections(images, [PERSON], [PERSON], [PERSON], [PERSON])).loss(
        detections(images, [PERSON], [PERSON], [], [PERSON])
    )
    assert found.per_folder["day"].loss == 0
    assert found.per_folder["night"].loss == pytest.approx(100 / 3)


def test_progress_and_its_end(images: Survey) -> None:
    calls: list[tuple[int, int]] = []
    run = detections(images, [PERSON], [], [], [])
    evaluator(images, run, tell=lambda done, total: calls.append((done, total)))
    assert calls == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_no_images() -> None:
    with pytest.raises(EngineError, match="no images"):
        evaluator(Survey(()), None)


def test_labels_that_hold_nothing(images: Survey) -> None:
    run = detections(images, [PERSON], [], [], [])
    labels = Labels((boxes((0, 0, 9, 9, 0), crowd=[0]), boxes(), boxes(), boxes()), (), (0,))
    with pytest.raises(EngineError, match="these 4 images hold nothing that counts"):
        evaluator(images, run, labels=labels).loss(run)


def test_names_of_a_model() -> None:
    assert names_of(prepared_model(DETECTION)).told
    nameless = prepared_model(DETECTION, classes=None)
    assert names_of(nameless).count == len(nameless.labels) == 3


def test_memory_is_bounded(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        images = images_of(tmp_path / str(count), count, size=(300, 300))
        spec = model_spec("segmentation", input={"size": [300, 300]})

        def run(frames: NDArray[Any]) -> dict[str, NDArray[Any]]:
            return {"mask": np.repeat(np.zeros((1, 300, 300), np.uint8), len(frames), axis=0)}

        tracemalloc.start()
        evaluator(images, run, spec).loss(run)
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    peak(2)  # what is imported on the way
    few, many = peak(4), peak(30)
    assert many - few < 300 * 300 * 3, "less than one frame more for 26 images more"


def test_a_raw_model_keeps_a_sample(images: Survey) -> None:
    spec = model_spec("raw")
    prepared = prepared_model(spec, [TensorSpec("big", "float32", (500, 500))])
    reader = findings.Reader(spec, prepared, EvaluationOptions(), 0.0, images=10**6)
    record = FrameBatches(images.images, spec.input).records(0)[0]
    kept = reader.read({"big": np.ones((1, 500, 500), np.float32)}, 0, record)
    assert isinstance(kept, findings.Sampled)
    assert 10**6 * kept.values[0].nbytes <= findings.SAMPLE_BYTES
