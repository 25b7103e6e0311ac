# SPDX-License-Identifier: Apache-2.0
"""The images and labels that models are calibrated on and judged by."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.data import shared_data

from edged.engine.evaluate.alike import check_variety, refuse_overlap
from edged.engine.evaluate.coco import read_coco
from edged.engine.evaluate.labels import Boxes, Names, load_labels
from edged.engine.images import survey
from edged.model_file import load_spec
from edged.stages.capture.shapes import LABELS, ShapesScene
from tools.evaluate_shapes import HELD_OUT_SEEDS
from tools.models import detectors, digits, scenes, segments
from tools.models.folders import DataSet, write_images

SHIPS_DIGITS = pytest.mark.skipif(
    importlib.util.find_spec("sklearn") is None, reason="the digits come with scikit-learn, which is not installed"
)
Writer = Callable[[Path, int, int], DataSet]
WRITERS: dict[str, tuple[Writer, int]] = {
    "demo": (detectors.write_demo_data, 6),
    "digits": (digits.write_data, 40),
    "segments": (segments.write_data, 4),
}


NAMES = [pytest.param(name, marks=SHIPS_DIGITS) if name == "digits" else name for name in WRITERS]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("name", NAMES)
def test_what_is_written_is_what_the_builder_reads(name: str, tmp_path: Path) -> None:
    write, count = WRITERS[name]
    data = write(tmp_path / "data", count, count)
    spec = load_spec(data.spec)
    calib, val = survey([data.calib]), survey([data.val])
    assert len(calib.images) == len(val.images) == count
    assert not calib.unreadable
    assert not val.unreadable
    assert check_variety(calib, fewest=count, enough=count) == []  # no two look alike
    refuse_overlap(val.images, calib.images)
    names = Path(spec.labels or "").read_text().splitlines()
    labels = load_labels(data.labels, spec.task, val.images, Names(names, len(names)))
    assert labels.notes == ()
    assert all(truth is not None for truth in labels.truths)


@pytest.mark.parametrize("name", NAMES)
def test_the_same_every_time(name: str, tmp_path: Path) -> None:
    write, _ = WRITERS[name]
    write(tmp_path / "a", 2, 3)
    write(tmp_path / "b", 2, 3)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@SHIPS_DIGITS
def test_digits_held_out_are_never_trained_on() -> None:
    training, measuring = digits.split()
    assert (len(training), len(measuring)) == (digits.TRAINING, digits.HELD_OUT)
    assert sorted([*training, *measuring]) == list(range(1797))
    images, classes = digits.strokes()
    assert images.shape == (1797, 8, 8)
    assert images.max() == 16
    assert np.bincount(classes[measuring]).min() > 80  # every digit is judged


def test_boxes_of_the_demo_are_the_scenes_truth(tmp_path: Path) -> None:
    data = detectors.write_demo_data(tmp_path, 1, 4)
    images = survey([data.val]).images
    found = read_coco(data.labels, images, Names(LABELS, len(LABELS))).truths
    first = ShapesScene(HELD_OUT_SEEDS[0], 640, 480)
    for image, truth in zip(images, found, strict=True):
        assert isinstance(truth, Boxes)
        if image.name == f"{first.seed}-37.png":
            assert (image.height, image.width) == (480, 640)
            corners = truth.boxes + np.pad(truth.boxes[:, :2], ((0, 0), (2, 0)))
            expected = {(shape.class_id, *np.round(shape.box, 6)) for shape in first.truth(37)}
            pairs = zip(truth.classes.tolist(), corners, strict=True)
            assert {(number, *np.round(box, 6)) for number, box in pairs} == expected
            break
    else:
        pytest.fail("the first scene is not there")


def test_scenes_show_every_class_and_masks_fit_the_picture() -> None:
    counts = np.zeros(len(scenes.LABELS), np.int64)
    for seed in range(30):
        image, mask = scenes.scene(seed, 257)
        assert image.shape == (257, 257, 3)
        assert mask.shape == (257, 257)
        counts += np.bincount(mask.ravel(), minlength=len(counts))
        if (red := (mask >= 1) & (mask <= len(scenes.SHAPES))).any():
            blue_green_red = image[red].mean(axis=0)
            assert blue_green_red.argmax() == 2
    assert (counts > 0).all()
    assert 0.4 < counts[0] / counts.sum() < 0.9


@pytest.mark.parametrize("shape", scenes.SHAPES)
def test_outlines_reach_1_and_no_farther(shape: str) -> None:
    assert np.linalg.norm(scenes.outline(shape, 0.3), axis=1).max() == pytest.approx(1.0)


def test_mean_iou_by_hand() -> None:
    truth = np.array([[0, 0, 1, 1]], np.uint8)
    found = np.array([[0, 1, 1, 1]], np.uint8)
    counts = segments.confusion(truth, found, 3)
    assert counts.tolist() == [[1, 1, 0], [0, 2, 0], [0, 0, 0]]
    assert segments.mean_iou(counts) == pytest.approx((1 / 2 + 2 / 3) / 2)  # class 2 does not occur


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError):
        write_images(tmp_path, [])


def test_an_image_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"a\.png"):
        write_images(tmp_path / "new", [("missing/a.png", np.zeros((2, 2), np.uint8))])


@pytest.mark.data
def test_photographs_of_the_real_detector() -> None:
    data = detectors.yolox_data(Path("spec.toml"), shared_data())
    val = survey([data.val]).images
    names = (shared_data() / "yolox-nano" / "coco.names").read_text().splitlines()
    assert sum(truth is not None for truth in load_labels(data.labels, "detection", val, Names(names, 80)).truths) == 79
    refuse_overlap(val, survey([data.calib]).images)


def test_masks_are_stored_as_class_numbers(tmp_path: Path) -> None:
    data = segments.write_data(tmp_path, 1, 1)
    (file,) = data.labels.iterdir()
    stored = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(stored, scenes.scene(segments.HELD_OUT_SEEDS[0], segments.SIDE)[1])
