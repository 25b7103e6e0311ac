# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from support.evaluation import images_of, write_images

from edged.engine.evaluate.alike import alike, check_variety, overlap, refuse_overlap
from edged.engine.images import load, survey
from edged.errors import EngineError


def test_same_pixels_and_near_duplicates_are_found(tmp_path: Path) -> None:
    calibration = images_of(tmp_path / "calib", 40, size=(240, 320))
    folder = write_images(tmp_path / "val", 5, seed=1, size=(240, 320))
    picture = load(calibration.images[7])
    assert cv2.imwrite(str(folder / "a-copy.bmp"), picture)
    assert cv2.imwrite(str(folder / "b-jpeg.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 60])
    assert cv2.imwrite(str(folder / "c-small.png"), cv2.resize(picture, (160, 120), interpolation=cv2.INTER_AREA))
    assert cv2.imwrite(str(folder / "d-mirrored.png"), picture[:, ::-1])
    evaluation = survey([folder])
    found = overlap(evaluation.images, calibration.images)
    assert [(ours.name, theirs.name) for ours, theirs in found.same] == [("a-copy.bmp", "07.png")]
    assert [ours.name for ours, _ in found.near] == ["b-jpeg.jpg", "c-small.png"]
    assert {theirs.name for _, theirs in found.near} == {"07.png"}
    with pytest.raises(EngineError, match="3 of 9 evaluation images") as caught:
        refuse_overlap(evaluation.images, calibration.images)
    text = str(caught.value)
    assert caught.value.exit_code == 78
    assert "1 with the same pixels (val/a-copy.bmp is calib/07.png)" in text
    assert "2 that look alike (val/b-jpeg.jpg is calib/07.png, val/c-small.png" in text
    assert "take them out" in text


def test_disjoint_sets_pass(tmp_path: Path) -> None:
    one, other = images_of(tmp_path / "a", 20), images_of(tmp_path / "b", 20, seed=1)
    refuse_overlap(one.images, other.images)
    refuse_overlap(one.images, ())
    assert [len(group) for group in alike(one.images)] == [1] * 20


def test_a_small_object_makes_another_picture(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "static", 1, size=(480, 640))
    picture = load(survey([folder]).images[0])
    for number, left in enumerate((100, 300)):
        cv2.rectangle(picture, (left, 200), (left + 25, 260), (0, 0, 0), cv2.FILLED)
        assert cv2.imwrite(str(folder / f"person{number}.png"), picture)
    noise = np.random.default_rng(0).normal(0, 8, picture.shape)
    assert cv2.imwrite(str(folder / "z-noise.png"), np.clip(picture + noise, 0, 255).astype(np.uint8))
    groups = alike(survey([folder]).images)
    assert [[one.name for one in group] for group in groups] == [
        ["00.png"],
        ["person0.png"],
        ["person1.png", "z-noise.png"],
    ]


def test_a_slow_change_is_not_one_group(tmp_path: Path) -> None:
    folder = tmp_path / "dusk"
    folder.mkdir()
    for step in range(10):
        assert cv2.imwrite(str(folder / f"{step}.png"), np.full((40, 40, 3), 10 * step, np.uint8))
    assert [len(group) for group in alike(survey([folder]).images)] == [2] * 5


@pytest.mark.parametrize(
    ("different", "copies", "text"),
    [(2, 0, "2 images are too few"), (31, 0, "31 images are too few"), (5, 60, "of 65 images only 5 differ")],
)
def test_too_few_or_too_much_alike_is_refused(tmp_path: Path, different: int, copies: int, text: str) -> None:
    folder = write_images(tmp_path / "calib", different)
    for number in range(copies):
        (folder / f"copy{number:02}.png").write_bytes((folder / "00.png").read_bytes())
    with pytest.raises(EngineError, match=text) as caught:
        check_variety(survey([folder]))
    assert "32 different ones are the least" in str(caught.value)
    if copies:
        assert "60 look like calib/00.png (first copy00.png)" in str(caught.value)


def test_warnings(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "calib", 33)
    (folder / "more.png").write_bytes((folder / "05.png").read_bytes())
    repeated, few = check_variety(survey([folder]))
    assert "1 of 34 calibration images look like others" in repeated
    assert "33 different calibration images are few" in few
    assert check_variety(images_of(tmp_path / "many", 40), enough=40) == []
