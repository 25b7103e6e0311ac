# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from support.evaluation import images_of, write_images

from edged.engine.evaluate.labels import Boxes, Labels, MaskFile, Names, load_labels
from edged.engine.evaluate.masks import read_mask
from edged.engine.images import Survey, survey
from edged.errors import EngineError
from edged.model import Task

NAMES = Names(["person", "Traffic Light", "dog"], 3)
NAMELESS = Names(["0", "1", "2"], 3)


@pytest.fixture
def images(tmp_path: Path) -> Survey:
    return images_of(tmp_path / "val", 3)


def coco(folder: Path, **parts: Any) -> Path:
    """A COCO file: one box each in 00.png and 01.png, none in 02.png."""
    content = {
        "images": [{"id": 10 + at, "file_name": f"0{at}.png", "width": 64, "height": 48} for at in range(3)],
        "categories": [{"id": 5, "name": "dog"}, {"id": 7, "name": "traffic_light"}],
        "annotations": [
            {"id": 0, "image_id": 10, "category_id": 5, "bbox": [1, 2, 10, 20], "area": 150.5, "iscrowd": 0},
            {"id": 1, "image_id": 11, "category_id": 7, "bbox": [3, 4, 5, 6], "iscrowd": 1, "segmentation": []},
        ],
        **parts,
    }
    path = folder / "labels.json"
    path.write_text(json.dumps(content))
    return path


def read(path: Path, images: Survey, names: Names = NAMES, task: Task = "detection") -> Labels:
    return load_labels(path, task, images.images, names)


def refused(path: Path, images: Survey, names: Names = NAMES, task: Task = "detection") -> str:
    with pytest.raises(EngineError) as caught:
        read(path, images, names, task)
    assert caught.value.exit_code == 78
    assert caught.value.where
    assert caught.value.remedy
    return str(caught.value)


def test_coco_by_name(tmp_path: Path, images: Survey) -> None:
    labels = read(coco(tmp_path), images)
    assert labels.classes == (1, 2)
    assert labels.notes == ()
    first, second, third = labels.truths
    assert isinstance(first, Boxes)
    assert isinstance(second, Boxes)
    assert isinstance(third, Boxes)
    assert (first.boxes.tolist(), first.classes.tolist(), first.areas.tolist()) == ([[1, 2, 10, 20]], [2], [150.5])
    assert (second.classes.tolist(), second.areas.tolist(), second.crowd.tolist()) == ([1], [30], [True])
    assert len(third.boxes) == 0


def test_coco_by_position_where_the_model_has_no_names(tmp_path: Path, images: Survey) -> None:
    labels = read(coco(tmp_path), images, NAMELESS)
    assert labels.classes == (0, 1)
    assert "2 categories are taken for classes in the order of their ids" in labels.notes[0]
    categories = [{"id": number, "name": f"c{number}"} for number in (5, 7, 8, 9)]
    assert "4 categories; the model knows 3 classes without" in refused(
        coco(tmp_path, categories=categories), images, NAMELESS
    )


def test_coco_where_a_name_is_spelt_otherwise(tmp_path: Path, images: Survey) -> None:
    names = Names(["person", "motorbike", "dog"], 3)
    categories = [{"id": 1, "name": "person"}, {"id": 5, "name": "motorcycle"}, {"id": 7, "name": "dog"}]
    labels = read(coco(tmp_path, categories=categories), images, names)
    assert labels.classes == (0, 1, 2)
    assert "'motorcycle' for 'motorbike'" in labels.notes[0]
    elsewhere = [{"id": 1, "name": "dog"}, {"id": 5, "name": "motorcycle"}, {"id": 7, "name": "person"}]
    assert "motorcycle" in refused(coco(tmp_path, categories=elsewhere), images, names)


def test_labels_of_another_model(tmp_path: Path, images: Survey) -> None:
    categories = [{"id": 5, "name": "scratch"}, {"id": 7, "name": "dent"}]
    text = refused(coco(tmp_path, categories=categories), images)
    assert "2 of the 2 categories of its boxes are no classes of the model: scratch, dent" in text
    assert "person, Traffic Light, dog" in text
    # A category that no box has disturbs nobody.
    spare = [{"id": 5, "name": "dog"}, {"id": 7, "name": "person"}, {"id": 8, "name": "dent"}]
    assert read(coco(tmp_path, categories=spare), images).classes == (0, 2)


@pytest.mark.parametrize(
    ("parts", "text"),
    [
        ({"annotations": [{"image_id": 10, "category_id": 5}]}, "bbox"),
        ({"annotations": [{"image_id": 10, "category_id": 5, "bbox": [1, 2, -3, 4]}]}, "annotations[0]"),
        ({"annotations": [{"image_id": 10, "category_id": 6, "bbox": [1, 2, 3, 4]}]}, "category ids 6"),
        ({"annotations": []}, "no box in any of the 3 images"),
        ({"images": [{"id": 10, "file_name": "00.png", "width": 48, "height": 64}]}, "00.png is 64x48"),
        ({"images": [{"id": 10, "file_name": "other.png"}]}, "none of the 3 images, the first of which is val/00.png"),
    ],
)
def test_wrong_coco_files(tmp_path: Path, images: Survey, parts: dict[str, Any], text: str) -> None:
    assert text in refused(coco(tmp_path, **parts), images)


def test_missing_and_extra_images_are_said(tmp_path: Path, images: Survey) -> None:
    listed = [{"id": 10, "file_name": "train/00.png"}, {"id": 11, "file_name": "gone.png"}]
    labels = read(coco(tmp_path, images=listed), images)
    assert labels.truths[1:] == (None, None)
    assert labels.notes == (
        "1 labelled files are not among the images: gone.png",
        "2 of 3 images have no labels and do not count: val/01.png, val/02.png",
    )


def test_the_same_name_in_two_folders(tmp_path: Path) -> None:
    both = survey([write_images(tmp_path / "day", 1), write_images(tmp_path / "night", 1, seed=1)])
    path = tmp_path / "classes.csv"
    path.write_text("day/00.png,dog\nnight/00.png,person\n")
    assert read(path, both, task="classification").truths == (2, 0)
    path.write_text("00.png,dog\n")
    assert "00.png is in 2 of the image folders" in refused(path, both, task="classification")


def test_classes(tmp_path: Path, images: Survey) -> None:
    path = tmp_path / "classes.csv"
    path.write_text('\ufefffile,label\n"00.png",Dog\n\n01.png, 1 \nelsewhere/02.png,traffic-light\nmore.png,0\n')
    labels = read(path, images, task="classification")
    assert labels.truths == (2, 1, 1)
    assert labels.notes == ("1 labelled files are not among the images: more.png",)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("00.png,dog\n01.png,cat\n02.png,7\n", "2 of its classes are no classes of the model: 'cat' (line 2), '7'"),
        ("00.png,dog\n00.png,person\n", "00.png is of class 2 and, in line 2, of class 0"),
        ("00.png\n", "line 1 has no second column"),
        ("\n\n", "empty"),
        ("a.png,dog\nb.png,dog\n", "none of the 3 images"),
    ],
)
def test_wrong_tables(tmp_path: Path, images: Survey, content: str, text: str) -> None:
    path = tmp_path / "classes.csv"
    path.write_text(content)
    assert text in refused(path, images, task="classification")


def write_mask(path: Path, mask: NDArray[Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    assert cv2.imwrite(str(path), mask)


def test_masks(tmp_path: Path, images: Survey) -> None:
    mask = np.zeros((48, 64), np.uint8)
    mask[:10], mask[10:20] = 2, 255
    for number in range(2):
        write_mask(tmp_path / "masks" / f"0{number}.png", mask)
    write_mask(tmp_path / "masks" / "10.png", mask)
    labels = read(tmp_path / "masks", images, task="segmentation")
    assert labels.truths[2] is None
    assert isinstance(labels.truths[0], MaskFile)
    np.testing.assert_array_equal(read_mask(labels.truths[0]), mask)
    assert "labelled files are not among the images: 10.png" in labels.notes[0]


def palette_png(depth: int) -> bytes:
    """A PNG file with a palette, 4x2 pixels of 2, 4 or 8 bits, as drawing tools write it; OpenCV cannot write one."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packed = b""
    for row in ([0, 1, 2, 3], [3, 2, 1, 0]):
        bits = "".join(f"{value:0{depth}b}" for value in row)
        packed += b"\0" + int(bits, 2).to_bytes(len(bits) // 8, "big")
    header = struct.pack(">IIBBBBB", 4, 2, depth, 3, 0, 0, 0)
    colours = bytes([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0])
    chunks = [(b"IHDR", header), (b"PLTE", colours), (b"tRNS", b"\0"), (b"IDAT", zlib.compress(packed)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


@pytest.mark.parametrize("depth", [2, 4, 8])
def test_a_palette_is_class_numbers(tmp_path: Path, depth: int) -> None:
    path = tmp_path / "mask.png"
    path.write_bytes(palette_png(depth))
    assert read_mask(MaskFile(path, 2, 4)).tolist() == [[0, 1, 2, 3], [3, 2, 1, 0]]


@pytest.mark.parametrize(
    ("mask", "text"),
    [
        (np.full((48, 64), 3, np.uint8), "class numbers that the model does not have: 3"),
        (np.zeros((24, 32), np.uint8), "it is 32x24, its image 64x48"),
        (np.random.default_rng(0).integers(0, 9, (48, 64, 3), np.uint8), "a coloured picture"),
        (np.full((48, 64), 300, np.uint16), "values up to 300"),
    ],
)
def test_wrong_masks(tmp_path: Path, images: Survey, mask: NDArray[Any], text: str) -> None:
    write_mask(tmp_path / "masks" / "01.png", mask)
    assert text in refused(tmp_path / "masks", images, task="segmentation")


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", palette_png(8)[:60], b"GIF89a" + bytes(40)])
def test_broken_masks(tmp_path: Path, images: Survey, content: bytes) -> None:
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "00.png").write_bytes(content)
    assert "PNG" in refused(tmp_path / "masks", images, task="segmentation")


@pytest.mark.parametrize("task", ["detection", "classification", "segmentation", "raw"])
def test_labels_of_another_kind(tmp_path: Path, images: Survey, task: Task) -> None:
    assert "do not exist" in refused(tmp_path / "nowhere", images, task=task) or task == "raw"
    path = tmp_path / "labels.txt"
    path.write_text("hello")
    assert "raw" in refused(path, images, task=task) or task in refused(path, images, task=task)
