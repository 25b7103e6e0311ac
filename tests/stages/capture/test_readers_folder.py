# SPDX-License-Identifier: Apache-2.0
"""Folders of images: order, names, and bad images among good ones."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import DecodeError, ReadFailedError
from edged.stages.capture.readers.folder import FolderReader
from edged.stages.capture.uri import parse


def _encoded(
    suffix: str = ".png", shape: tuple[int, ...] = (8, 12, 3), value: int = 200, dtype: str = "uint8"
) -> bytes:
    good, data = cv2.imencode(suffix, np.full(shape, value, dtype))
    assert good
    return data.tobytes()


def _names(reader: FolderReader) -> list[str]:
    """What each read gives: a name, or ``!`` for a decode error."""
    names = []
    while True:
        try:
            picture = reader.read()
        except DecodeError:
            names.append("!")
            continue
        if picture is None:
            return names
        names.append(picture.file)


def test_byte_order_and_suffixes(tmp_path: Path) -> None:
    for name in (
        "b.png",
        "B.PNG",
        "a10.png",
        "a9.png",
        "é.png",
        "z.webp",
        "c.bmp",
        "d.TIF",
        "e.tiff",
        "f.jpeg",
        "g.JPG",
    ):
        (tmp_path / name).write_bytes(_encoded(Path(name).suffix.lower()))
    (tmp_path / "notes.txt").write_text("no image")
    (tmp_path / "inside.png").mkdir()
    (tmp_path / "inside.png" / "x.png").write_bytes(_encoded())
    reader = FolderReader(str(tmp_path))
    expected = ["B.PNG", "a10.png", "a9.png", "b.png", "c.bmp", "d.TIF", "e.tiff", "f.jpeg", "g.JPG", "z.webp", "é.png"]
    assert _names(reader) == expected
    assert reader.read() is None
    reader.rewind()
    assert _names(reader) == expected
    assert (reader.fps, reader.decode) == (None, "software")
    reader.close()


def test_bad_images_among_good_ones(tmp_path: Path) -> None:
    jpeg = _encoded(".jpg", (64, 64, 3))
    (tmp_path / "1.png").write_bytes(_encoded())
    (tmp_path / "2.png").touch()
    (tmp_path / "3.png").write_bytes(b"this is no image")
    (tmp_path / "4.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (tmp_path / "5.png").write_bytes(_encoded())
    (tmp_path / "6.png").write_bytes(_encoded())
    reader = FolderReader(str(tmp_path))
    (tmp_path / "5.png").unlink()
    assert _names(reader) == ["1.png", "!", "!", "!", "!", "6.png"]


def test_only_bad_images_are_a_failure(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"no image")
    reader = FolderReader(str(tmp_path))
    with pytest.raises(DecodeError, match=r"1\.png"):
        reader.read()
    with pytest.raises(ReadFailedError, match="none of its 1 images") as caught:
        reader.read()
    assert caught.value.permanent


def test_what_is_wrong_is_said_with_the_name(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "2.jpg").write_text("x")
    (tmp_path / "3.jpg").write_bytes(_encoded(".jpg"))
    reader = FolderReader(str(tmp_path))
    (tmp_path / "3.jpg").unlink()
    found = []
    for _ in range(3):
        with pytest.raises(DecodeError) as caught:
            reader.read()
        found.append((caught.value.file, caught.value.reason))
        assert str(caught.value) == ": ".join(found[-1])
    assert found == [
        ("1.jpg", "is empty (0 bytes)"),
        ("2.jpg", "is not an image, or damaged"),
        ("3.jpg", "No such file or directory"),
    ]


def test_what_is_no_regular_file_is_left_out_and_said(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "1.png").write_bytes(_encoded())
    (folder / "2.png").symlink_to("1.png")
    assert not FolderReader(str(folder)).notes
    os.mkfifo(tmp_path / "pipe")
    for name, target in {
        "a.png": "/proc/self/mem",
        "b.png": "/dev/zero",
        "c.png": str(tmp_path / "pipe"),
        "d.png": str(tmp_path / "folder"),
        "e.png": "nowhere",
    }.items():
        (folder / name).symlink_to(target)
    reader = FolderReader(str(folder))
    assert _names(reader) == ["1.png", "2.png"]
    assert reader.notes == ["5 entries are no regular files and were left out: a.png first"]
    for name in "bcde":
        (folder / f"{name}.png").unlink()
    assert FolderReader(str(folder)).notes == ["1 entry is no regular file and was left out: a.png"]
    for name in "12":
        (folder / f"{name}.png").unlink()
    with pytest.raises(ReadFailedError, match="holds no image"):
        FolderReader(str(folder))


@pytest.mark.parametrize("how", ["deleted", "unmounted"])
def test_a_folder_that_goes_away(tmp_path: Path, how: str) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("1.png", "2.png"):
        (folder / name).write_bytes(_encoded())
    reader = FolderReader(str(folder))
    assert reader.read() is not None
    for path in folder.iterdir():
        path.unlink()
    if how == "deleted":
        folder.rmdir()
    reader.rewind()
    with pytest.raises(ReadFailedError) as caught:
        _names(reader)
    text = "the folder is gone" if how == "deleted" else "none of its 2 images is there any more"
    assert (str(caught.value), caught.value.gone, caught.value.permanent) == (text, True, True)
    with pytest.raises(ReadFailedError) as caught:
        FolderReader(str(folder))
    assert caught.value.gone


@pytest.mark.parametrize("name", ["missing", "empty", "file"])
def test_no_folder_of_images(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(ReadFailedError) as caught:
        open_reader(parse(f"dir://{tmp_path / name}"), live=False)
    assert caught.value.permanent


def test_any_file_name_fits_into_a_message(tmp_path: Path) -> None:
    longest = "ü" * 125 + ".png"
    with open(os.path.join(os.fsencode(tmp_path), b"\xff\xfe broken.png"), "wb") as file:
        file.write(_encoded())
    (tmp_path / longest).write_bytes(_encoded())
    (tmp_path / 'a "quoted"\n name.png').write_bytes(_encoded())
    names = _names(FolderReader(str(tmp_path)))
    assert names == ['a "quoted"\n name.png', longest, "�� broken.png"]
    assert json.loads(json.dumps(names).encode()) == names


@pytest.mark.parametrize(
    ("shape", "dtype", "value"),
    [
        ((8, 12), "uint8", 200),
        ((8, 12, 4), "uint8", 200),
        ((8, 12, 3), "uint16", 200 * 257),
        ((8, 12), "uint16", 200 * 257),
    ],
)
def test_every_image_becomes_bgr(tmp_path: Path, shape: tuple[int, ...], dtype: str, value: int) -> None:
    (tmp_path / "1.png").write_bytes(_encoded(".png", shape, value, dtype))
    picture = FolderReader(str(tmp_path)).read()
    assert picture is not None
    assert (picture.image.shape, picture.image.dtype.name) == ((8, 12, 3), "uint8")
    assert (picture.image == 200).all()


def _with_orientation(jpeg: bytes, orientation: int) -> bytes:
    """The JPEG with an EXIF block that holds nothing but the orientation."""
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01" + orientation.to_bytes(2, "big") + b"\x00\x00"
    tiff = b"MM\x00\x2a\x00\x00\x00\x08" + b"\x00\x01" + entry + b"\x00\x00\x00\x00"
    body = b"Exif\x00\x00" + tiff
    return jpeg[:2] + b"\xff\xe1" + (len(body) + 2).to_bytes(2, "big") + body + jpeg[2:]


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    image: NDArray[np.uint8] = np.zeros((16, 48, 3), np.uint8)
    image[:, :16] = 255
    jpeg = cv2.imencode(".jpg", image)[1].tobytes()
    (tmp_path / "1.jpg").write_bytes(_with_orientation(jpeg, 6))  # turn clockwise by 90 degrees
    picture = FolderReader(str(tmp_path)).read()
    assert picture is not None
    assert picture.image.shape == (48, 16, 3)
    assert picture.image[:16].mean() > 240
    assert picture.image[32:].mean() < 15
