# SPDX-License-Identifier: Apache-2.0
"""Video files: whole, cut off, damaged, empty, grey, and the real one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import DecodeError, Picture, Reader, ReadFailedError, quiet_environment
from edged.stages.capture.readers.opencv import to_bgr
from edged.stages.capture.readers.video import VideoReader
from edged.stages.capture.uri import parse

WIDTH, HEIGHT = 320, 240
DATA = Path(os.environ.get("SHARED_DATA_DIR", Path(__file__).resolve().parents[4] / "shared" / "data"))


def _write(path: Path, frames: int = 20, *, color: bool = True, codec: str = "MJPG") -> Path:
    """A video whose frame n has brightness 10 n."""
    fourcc = cv2.VideoWriter.fourcc(*codec)
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, 25.0, (WIDTH, HEIGHT), color)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((HEIGHT, WIDTH, 3) if color else (HEIGHT, WIDTH), 10 * index, np.uint8))
    writer.release()
    return path


def _brightness(reader: Reader) -> list[int]:
    levels = []
    while (picture := reader.read()) is not None:
        levels.append(round(float(picture.image.mean())))
    return levels


def test_reads_every_frame_in_order_and_again(tmp_path: Path) -> None:
    reader = VideoReader(str(_write(tmp_path / "a.avi")))
    assert (reader.fps, reader.decode) == (25.0, "software")
    expected = [10 * index for index in range(20)]
    assert np.allclose(_brightness(reader), expected, atol=2)
    assert reader.read() is None
    for _ in range(2):
        reader.rewind()
        assert np.allclose(_brightness(reader), expected, atol=2)
    reader.close()
    reader.close()


def test_picture_has_times_and_one_buffer(tmp_path: Path) -> None:
    reader = VideoReader(str(_write(tmp_path / "a.avi")))
    before, before_at = time.monotonic_ns(), time.time_ns()
    first = reader.read()
    assert isinstance(first, Picture)
    assert before <= first.captured_ns <= time.monotonic_ns()
    assert before_at <= first.captured_at_ns <= time.time_ns()
    assert (first.image.shape, first.image.dtype.name, first.file) == ((HEIGHT, WIDTH, 3), "uint8", "")
    second = reader.read()
    assert second is not None
    assert np.shares_memory(first.image, second.image)
    reader.close()


@pytest.mark.parametrize("codec", ["MJPG", "FFV1"])
def test_grey_video_has_three_channels(tmp_path: Path, codec: str) -> None:
    reader = VideoReader(str(_write(tmp_path / "grey.avi", 5, color=False, codec=codec)))
    picture = reader.read()
    assert picture is not None
    assert picture.image.shape == (HEIGHT, WIDTH, 3)
    reader.close()


def test_odd_names_are_literal(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.avi").rename(tmp_path / "we ird%20#1?x=%03d ü'\".avi")
    reader = open_reader(parse(f"file://{path}"), live=True)
    assert len(_brightness(reader)) == 20
    reader.close()


@pytest.mark.parametrize("part", [0.3, 0.5, 0.9])
def test_a_file_that_was_cut_off_is_a_short_file(tmp_path: Path, part: float) -> None:
    data = _write(tmp_path / "a.avi").read_bytes()
    begin = data.index(b"movi")
    (tmp_path / "cut.avi").write_bytes(data[: begin + int(part * (len(data) - begin))])
    reader = VideoReader(str(tmp_path / "cut.avi"))
    count = len(_brightness(reader))
    assert 0 < count < 20
    assert reader.read() is None
    reader.rewind()
    assert len(_brightness(reader)) == count
    reader.close()


def test_a_packet_that_cannot_be_decoded_is_one_broken_frame(tmp_path: Path) -> None:
    """OpenCV says of it what it says of the end."""
    data = bytearray(_write(tmp_path / "a.avi").read_bytes())
    at, places = data.index(b"movi"), []
    while (at := data.find(b"00dc", at + 4)) > 0:
        places.append((at + 8, int.from_bytes(data[at + 4 : at + 8], "little")))
    for start, size in places[7:9]:
        data[start : start + size] = bytes(size)
    (tmp_path / "damaged.avi").write_bytes(data)
    reader = VideoReader(str(tmp_path / "damaged.avi"))
    levels: list[int | None] = []
    for _ in range(20):
        try:
            picture = reader.read()
            assert picture is not None
            levels.append(round(float(picture.image.mean()), -1))  # type: ignore[arg-type]
        except DecodeError:
            levels.append(None)
    assert reader.read() is None
    reader.close()
    assert levels == [None if index in (7, 8) else 10 * index for index in range(20)]


def test_damage_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    data = bytearray(_write(tmp_path / "a.avi").read_bytes())
    pictures = data.split(b"\xff\xd8")
    assert len(pictures) == 21
    pictures[10][300:] = b"\x55" * len(pictures[10][300:])
    (tmp_path / "damaged.avi").write_bytes(b"\xff\xd8".join(pictures))
    reader = VideoReader(str(tmp_path / "damaged.avi"))
    levels, broken = [], 0
    while True:
        try:
            picture = reader.read()
        except DecodeError:
            broken += 1
            continue
        if picture is None:
            break
        levels.append(round(float(picture.image.mean())))
    assert len(levels) + broken >= 18
    assert levels[-1] == pytest.approx(190, abs=2)
    reader.close()


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, os.urandom(5000)], ids=["empty", "text", "noise"])
def test_what_is_no_video_fails_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(content)
    with pytest.raises(ReadFailedError, match="not a video") as caught:
        VideoReader(str(path))
    assert caught.value.permanent


def test_a_header_without_frames_fails_at_the_first_read(tmp_path: Path) -> None:
    data = _write(tmp_path / "a.avi").read_bytes()
    (tmp_path / "head.avi").write_bytes(data[: data.index(b"movi") + 4])
    reader = VideoReader(str(tmp_path / "head.avi"))
    with pytest.raises(ReadFailedError, match="no frame") as caught:
        reader.read()
    assert caught.value.permanent
    reader.close()


def test_stderr_stays_empty(tmp_path: Path) -> None:
    """FFmpeg's and OpenCV's complaints, which hold URLs, do not reach the log."""
    data = _write(tmp_path / "a.avi").read_bytes()
    (tmp_path / "cut.avi").write_bytes(data[: len(data) // 2].replace(b"\x3f", b"\x40"))
    (tmp_path / "noise.avi").write_bytes(os.urandom(999))
    code = (
        "import sys\n"
        "from edged.stages.capture.readers import open_reader\n"
        "from edged.stages.capture.uri import parse\n"
        "from edged.stages.capture.readers.base import DecodeError, ReadFailedError\n"
        "for uri in sys.argv[1:]:\n"
        "    try:\n"
        "        reader = open_reader(parse(uri), live=False)\n"
        "        while reader.read(): pass\n"
        "    except (DecodeError, ReadFailedError): pass\n"
    )
    uris = [f"file://{tmp_path}/{name}.avi" for name in ("cut", "noise", "missing")] + ["rtsp://u:p@127.0.0.1:9/s"]
    environment = {**os.environ, **quiet_environment()}
    done = subprocess.run(
        [sys.executable, "-c", code, *uris], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stderr == ""


def test_environment_leaves_what_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENCV_LOG_LEVEL", raising=False)
    monkeypatch.setenv("OPENCV_FFMPEG_LOGLEVEL", "48")
    assert "OPENCV_LOG_LEVEL" in quiet_environment()
    assert "OPENCV_FFMPEG_LOGLEVEL" not in quiet_environment()


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [((4, 6), "uint8"), ((4, 6, 1), "uint8"), ((4, 6, 3), "uint8"), ((4, 6, 4), "uint8"), ((4, 6, 3), "uint16")],
)
def test_odd_formats_become_bgr(shape: tuple[int, ...], dtype: str) -> None:
    value = 200 if dtype == "uint8" else 200 << 8
    image = to_bgr(np.full(shape, value, dtype))
    assert (image.shape, image.dtype.name) == ((4, 6, 3), "uint8")
    assert (image == 200).all()


@pytest.mark.parametrize("image", [np.zeros((4, 6, 2), np.uint8), np.zeros((4, 6, 3), np.float32), np.zeros((0, 6, 3))])
def test_unknown_formats_are_decode_errors(image: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> None:
    with pytest.raises(DecodeError):
        to_bgr(image)


@pytest.mark.data
def test_the_real_clip_ends_where_it_ends() -> None:
    """Its header promises 682 frames; 341 decode, and OpenCV never recovers after that."""
    path = DATA / "video" / "people-720p50.avi"
    if not path.exists():
        pytest.skip(f"{path} is not there: set SHARED_DATA_DIR")
    reader = VideoReader(str(path))
    assert reader.fps == 50.0
    for _ in range(2):
        count = 0
        while (picture := reader.read()) is not None:
            assert picture.image.shape == (720, 1280, 3)
            count += 1
        assert count == 341
        assert reader.read() is None
        reader.rewind()
    reader.close()
