# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import tracemalloc
from pathlib import Path

import cv2
import numpy as np
import pytest
from support.evaluation import images_of, write_images

from edged.engine.images import FrameBatches, load, survey
from edged.errors import EngineError, SourceError
from edged.model import InputSpec
from edged.stages.capture.fit import FitPlan, Fitter
from edged.stages.capture.readers.folder import FolderReader

DYNAMIC = InputSpec.model_validate({"size": {"min": [32, 32], "opt": [64, 64], "max": [128, 128], "multiple": 32}})


def test_order_and_pixels_are_those_of_a_folder_source(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", 4)
    for name in ("z.PNG", "é.png", "B.png"):
        (folder / name).write_bytes((folder / "00.png").read_bytes())
    (folder / "notes.txt").write_text("no image")
    (folder / "inner").mkdir()
    found = survey([folder]).images
    reader = FolderReader(str(folder))
    for image in found:
        picture = reader.read()
        assert picture is not None
        assert picture.file == image.name
        np.testing.assert_array_equal(picture.image, load(image))
    assert reader.read() is None
    assert [one.digest for one in found].count(found[0].digest) == 4
    assert (found[0].height, found[0].width) == (48, 64)


def test_folders_are_told_apart(tmp_path: Path) -> None:
    folders = [write_images(tmp_path / name, 1) for name in ("day", "night", "other/day")]
    groups = survey(folders).groups
    assert groups == [str(folders[0]), "night", str(folders[2])]
    assert survey([folders[0], folders[0], tmp_path / "day" / ".." / "day"]).groups == ["day"]


def test_an_unreadable_image_is_said_and_left_out(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "pictures", 2)
    (folder / "broken.png").write_bytes(b"not a picture")
    (folder / "empty.jpg").write_bytes(b"")
    calls: list[tuple[int, int]] = []
    found = survey([folder], lambda done, total: calls.append((done, total)))
    assert len(found.images) == 2
    assert [text.split(":")[0] for text in found.unreadable] == ["pictures/broken.png", "pictures/empty.jpg"]
    assert calls[-1] == (4, 4)


@pytest.mark.parametrize("content", ["missing", "empty", "broken"])
def test_nothing_readable_is_a_source_error(tmp_path: Path, content: str) -> None:
    folder = tmp_path / "pictures"
    if content != "missing":
        folder.mkdir()
    if content == "broken":
        (folder / "a.png").write_bytes(b"no")
    with pytest.raises(SourceError, match="pictures") as caught:
        survey([folder])
    assert caught.value.exit_code == 78


def test_frames_are_fitted_as_capture_does(tmp_path: Path) -> None:
    images = images_of(tmp_path / "pictures", 5).images
    spec = InputSpec(size=[40, 40], pad=9, interpolation="cubic")
    batches = FrameBatches(images, spec, 2)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    expected = np.empty((40, 40, 3), np.uint8)
    Fitter(FitPlan.from_input(spec)).fit(load(images[3]), expected)
    np.testing.assert_array_equal(batches[1][1], expected)
    assert batches.images(1)[1] is images[3]
    record = batches.records(1)[1]
    assert (record.height, record.width, record.input_height, record.input_width) == (48, 64, 40, 40)
    assert record.file == "03.png"
    assert len(batches[1:]) == 2


def test_only_equal_shapes_share_a_batch(tmp_path: Path) -> None:
    wide = images_of(tmp_path / "wide", 3, size=(32, 96)).images
    tall = images_of(tmp_path / "tall", 2, size=(96, 32)).images
    shapes = [batch.shape[:3] for batch in FrameBatches([*wide, *tall], DYNAMIC, 4)]
    assert [shape[0] for shape in shapes] == [3, 2]
    assert shapes[0][1:] == shapes[1][:0:-1]


def test_an_image_that_changed_is_said(tmp_path: Path) -> None:
    images = images_of(tmp_path / "pictures", 2).images
    batches = FrameBatches(images, InputSpec(size=[48, 64]))
    cv2.imwrite(str(tmp_path / "pictures" / "00.png"), np.zeros((10, 10, 3), np.uint8))
    (tmp_path / "pictures" / "01.png").unlink()
    for index, how in ((0, "10x10 now"), (1, "No such file")):
        with pytest.raises(EngineError, match=how):
            batches[index]


def test_memory_does_not_grow_with_the_number_of_images(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        images = images_of(tmp_path / str(count), count, size=(200, 200)).images
        tracemalloc.start()
        for _ in FrameBatches(images, InputSpec(size=[400, 400]), 2):
            pass
        size = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return size

    frame = 400 * 400 * 3
    few, many = peak(4), peak(24)
    assert few > 2 * frame, "nothing is measured"
    assert many - few < frame
