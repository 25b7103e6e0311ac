# SPDX-License-Identifier: Apache-2.0
"""Image folders of a calibration: named apart, none drowned, none broken, no image in two."""

from __future__ import annotations

import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.calibration.weights import MOST
from edged.errors import EngineError, SourceError
from edged.model import InputSpec

SPEC = InputSpec(size=[32, 48])


def _folder(path: Path, seeds: range, side: int = 40) -> Path:
    """Images of coarse noise: any two differ."""
    path.mkdir()
    for seed in seeds:
        small = np.random.RandomState(seed).randint(0, 256, (8, 8, 3)).astype(np.uint8)
        image = cv2.resize(small, (side, side), interpolation=cv2.INTER_NEAREST)
        assert cv2.imwrite(str(path / f"{seed:04d}.png"), image)
    return path


def test_every_frame_comes_once_with_its_weight(tmp_path: Path) -> None:
    folders = [_folder(tmp_path / "normal", range(45)), _folder(tmp_path / "rare", range(100, 115))]
    images = CalibrationSet.of(folders)
    assert images.folders == ("normal", "rare")
    assert images.weights == pytest.approx({"normal": 60 / 2 / 45, "rare": 60 / 2 / 15})
    assert len(images.of_folder("rare")) == 15
    seen: list[str] = []
    shares = dict.fromkeys(images.folders, 0.0)
    for batch in images.batches(SPEC, most=7):
        assert batch.frames.shape == (len(batch.images), 32, 48, 3)
        assert batch.frames.dtype == np.uint8
        assert len(set(batch.folders)) == 1
        assert [image.group for image in batch.images] == list(batch.folders)
        assert batch.weights.tolist() == [images.weights[name] for name in batch.folders]
        shares[batch.folders[0]] += float(batch.weights.sum())
        seen += [str(image) for image in batch.images]
    assert seen == [str(image) for image in images.images]
    assert shares == pytest.approx({"normal": 30, "rare": 30})
    assert sum(len(frames) for frames in images.frames("rare", SPEC, 4)) == 15


def test_a_tiny_folder_is_told_of(tmp_path: Path) -> None:
    folders = [_folder(tmp_path / "normal", range(40)), _folder(tmp_path / "rare", range(100, 102))]
    images = CalibrationSet.of(folders)
    assert images.weights["rare"] / images.weights["normal"] == pytest.approx(MOST)
    assert any("folder rare holds 2 images beside one of 40" in warning for warning in images.warnings)


def test_an_image_in_two_folders_is_refused(tmp_path: Path) -> None:
    first = _folder(tmp_path / "normal", range(40))
    second = _folder(tmp_path / "rare", range(100, 110))
    shutil.copy(first / "0003.png", second / "again.png")
    with pytest.raises(EngineError, match=r"1 images are in two folders: rare/again\.png is normal/0003\.png"):
        CalibrationSet.of([first, second])


def test_unreadable_images_are_named_and_then_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "normal", range(40))
    (folder / "broken.png").write_bytes(b"no image")
    images = CalibrationSet.of([folder])
    assert len(images.images) == 40
    assert any("1 image cannot be read and is left out: normal/broken.png" in warning for warning in images.warnings)
    for index in range(5):
        (folder / f"broken{index}.png").write_bytes(b"no image")
    with pytest.raises(EngineError, match="6 of 46 images cannot be read"):
        CalibrationSet.of([folder])


def test_too_few_and_too_much_alike(tmp_path: Path) -> None:
    few = _folder(tmp_path / "few", range(31))
    with pytest.raises(EngineError, match="31 images are too few"):
        CalibrationSet.of([few])
    same = _folder(tmp_path / "same", range(1))
    for index in range(40):
        shutil.copy(same / "0000.png", same / f"copy{index}.png")
    with pytest.raises(EngineError, match="of 41 images only 1 differ"):
        CalibrationSet.of([same])
    with pytest.raises(SourceError):
        CalibrationSet.of([tmp_path / "nowhere"])
