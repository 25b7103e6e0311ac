# SPDX-License-Identifier: Apache-2.0
"""Video files: whole, cut off, damaged, empty, grey, and the real one."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import time
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import (
    DecodeError,
    Picture,
    Reader,
    ReadFailedError,
    ending_of,
    quiet_environment,
)
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


def _levels(reader: Reader) -> list[int | None]:
    """Brightness of each frame up to the end; None for those that are no picture."""
    levels: list[int | None] = []
    while True:
        try:
            picture = reader.read()
        except DecodeError:
            levels.append(None)
            continue
        if picture is None:
            return levels
        levels.append(round(float(picture.image.mean())))


def test_reads_every_frame_in_order_and_again(tmp_path: Path) -> None:
    reader = VideoReader(str(_write(tmp_path / "a.avi")))
    assert (reader.fps, reader.decode) == (25.0, "software")
    expected = [10 * index for index in range(20)]
    assert np.allclose(_brightness(reader), expected, atol=2)
    assert reader.read() is None
    assert ending_of(reader) == ""
    for _ in range(2):
        reader.rewind()
        assert np.allclose(_brightness(reader), expected, atol=2)
    reader.close()
    reader.close()


def test_picture_has_times(tmp_path: Path) -> None:
    reader = VideoReader(str(_write(tmp_path / "a.avi")))
    before, before_at = time.monotonic_ns(), time.time_ns()
    first = reader.read()
    assert isinstance(first, Picture)
    assert before <= first.captured_ns <= time.monotonic_ns()
    assert before_at <= first.captured_at_ns <= time.time_ns()
    assert (first.image.shape, first.image.dtype.name, first.file) == ((HEIGHT, WIDTH, 3), "uint8", "")
    reader.close()


@pytest.mark.parametrize("codec", ["MJPG", "FFV1"])
def test_grey_video_has_three_channels(tmp_path: Path, codec: str) -> None:
    reader = VideoReader(str(_write(tmp_path / "grey.avi", 5, color=False, codec=codec)))
    picture = reader.read()
    assert picture is not None
    assert picture.image.shape == (HEIGHT, WIDTH, 3)
    reader.close()


@pytest.mark.parametrize("live", [True, False])
@pytest.mark.parametrize("codec", ["libx264", "libx265", "libvpx-vp9", "libsvtav1"])
def test_what_cameras_and_recorders_encode_today_comes_whole(tmp_path: Path, codec: str, live: bool) -> None:
    """With frames that build on later ones, and with those that a decoder holds back up to the end."""
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot encode with {codec}")
    with av.open(str(tmp_path / "film.mkv"), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = WIDTH, HEIGHT, "yuv420p", 10
        stream.options = {"x265-params": "log-level=none"} if codec == "libx265" else {}
        for index in range(25):
            frame = av.VideoFrame.from_ndarray(np.full((HEIGHT, WIDTH, 3), 10 * index, np.uint8), format="bgr24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    reader = VideoReader(str(tmp_path / "film.mkv"), live=live)
    assert reader.fps == 25
    levels = _brightness(reader)
    assert len(levels) == 25
    assert max(abs(level - 10 * index) for index, level in enumerate(levels)) <= 4
    assert ending_of(reader) == ""
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
    counts = []
    for _ in range(2):
        levels = _levels(reader)
        # The frame through which it was cut is damaged; then there is nothing.
        assert levels[:-1] == pytest.approx([10 * index for index in range(len(levels) - 1)], abs=2)
        assert levels[-1] is None
        assert 1 < len(levels) < 20
        assert reader.read() is None
        reached_s = (len(levels) - 2) / 25
        told = f"its header promises 0.8 s and {reached_s:.1f} s came: it was cut off, or is damaged"
        assert ending_of(reader) == (told if len(levels) < 18 else "")
        counts.append(len(levels))
        reader.rewind()
    assert counts[0] == counts[1]
    reader.close()


def test_a_packet_that_cannot_be_decoded_is_one_broken_frame(tmp_path: Path) -> None:
    data = bytearray(_write(tmp_path / "a.avi").read_bytes())
    at, places = data.index(b"movi"), []
    while (at := data.find(b"00dc", at + 4)) > 0:
        places.append((at + 8, int.from_bytes(data[at + 4 : at + 8], "little")))
    for start, size in places[7:9]:
        data[start : start + size] = bytes(size)
    (tmp_path / "damaged.avi").write_bytes(data)
    reader = VideoReader(str(tmp_path / "damaged.avi"))
    levels = _levels(reader)
    assert reader.read() is None
    reader.close()
    good = [10 * index for index in range(20) if index not in (7, 8)]
    assert [level for level in levels if level is not None] == pytest.approx(good, abs=2)
    assert [index for index, level in enumerate(levels) if level is None] == [7, 8]


def test_damage_in_the_middle_ends_nothing(tmp_path: Path) -> None:
    data = bytearray(_write(tmp_path / "a.avi").read_bytes())
    pictures = data.split(b"\xff\xd8")
    assert len(pictures) == 21
    pictures[10][300:] = b"\x55" * len(pictures[10][300:])
    (tmp_path / "damaged.avi").write_bytes(b"\xff\xd8".join(pictures))
    reader = VideoReader(str(tmp_path / "damaged.avi"))
    levels = _levels(reader)
    assert len(levels) >= 18
    assert levels[-1] == pytest.approx(190, abs=2)
    reader.close()


def _chunk(name: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return name + struct.pack("<I", len(body)) + body


def _list(kind: bytes, *parts: bytes) -> bytes:
    return _chunk(b"LIST", kind, *parts)


def test_uncompressed_films_of_windows_are_upright(tmp_path: Path) -> None:
    """Their pictures lie bottom up, which FFmpeg says by a line size below zero."""
    picture = np.zeros((48, 64, 3), np.uint8)
    picture[:10, :20] = 255
    frames = [_chunk(b"00db", picture[::-1].tobytes())] * 3
    main = struct.pack("<10I16x", 40_000, 0, 0, 16, len(frames), 0, 1, picture.nbytes, 64, 48)
    header = b"vidsDIB " + struct.pack(
        "<IHH8I4h", 0, 0, 0, 0, 1, 25, 0, len(frames), picture.nbytes, 0, 0, 0, 0, 64, 48
    )
    bitmap = struct.pack("<IiiHHIIiiII", 40, 64, 48, 1, 24, 0, picture.nbytes, 0, 0, 0, 0)
    stream = _list(b"strl", _chunk(b"strh", header), _chunk(b"strf", bitmap))
    heads = _list(b"hdrl", _chunk(b"avih", main), stream)
    (tmp_path / "film.avi").write_bytes(_chunk(b"RIFF", b"AVI ", heads, _list(b"movi", *frames)))
    reader = VideoReader(str(tmp_path / "film.avi"))
    for _ in frames:
        found = reader.read()
        assert found is not None
        assert (found.image == picture).all()
    assert reader.read() is None
    reader.close()


def test_pictures_that_change_their_size_are_given_as_they_are(tmp_path: Path) -> None:
    """Each is what it is by itself: nothing is stretched to the size of the first."""
    sizes = [(240, 320)] * 3 + [(480, 640)] * 3 + [(240, 180)] * 3
    noise = np.random.default_rng(1)
    clouds = [cv2.resize(noise.integers(0, 255, (8, 8, 3), np.uint8), size[::-1]) for size in sizes]
    packets = [cv2.imencode(".jpg", cloud)[1] for cloud in clouds]
    (tmp_path / "sizes.mjpeg").write_bytes(b"".join(packet.tobytes() for packet in packets))
    reader = VideoReader(str(tmp_path / "sizes.mjpeg"))
    for size, packet in zip(sizes, packets, strict=True):
        picture = reader.read()
        assert picture is not None
        assert picture.image.shape == (*size, 3)
        alone = cv2.imdecode(packet, cv2.IMREAD_COLOR)
        assert float(np.abs(picture.image.astype(int) - alone).mean()) < 2.0
    assert reader.read() is None
    reader.close()


@pytest.mark.parametrize("turn", [None, cv2.ROTATE_90_CLOCKWISE, cv2.ROTATE_180, cv2.ROTATE_90_COUNTERCLOCKWISE])
def test_films_of_telephones_are_upright(tmp_path: Path, turn: int | None) -> None:
    """Their pictures lie as the sensor does; the header says how to turn them."""
    path = tmp_path / "phone.mp4"
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"mp4v"), 25.0, (WIDTH, HEIGHT))
    lying = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    lying[:40, :80] = 255  # its corner at the upper left
    for _ in range(3):
        writer.write(lying)
    writer.release()
    data = bytearray(path.read_bytes())
    cosine, sine = {None: (1, 0), cv2.ROTATE_90_CLOCKWISE: (0, 1), cv2.ROTATE_180: (-1, 0)}.get(turn, (0, -1))
    matrix = struct.pack(">9i", cosine << 16, sine << 16, 0, -sine << 16, cosine << 16, 0, 0, 0, 1 << 30)
    at = data.index(b"tkhd") + 44
    data[at : at + 36] = matrix
    path.write_bytes(data)
    reader = VideoReader(str(path))
    picture = reader.read()
    assert picture is not None
    upright = lying if turn is None else cv2.rotate(lying, turn)
    assert picture.image.shape == upright.shape
    assert float(np.abs(picture.image.astype(int) - upright).mean()) < 4.0
    reader.close()


@pytest.mark.parametrize("content", [b"", b"hello\n" * 100, os.urandom(5000)], ids=["empty", "text", "noise"])
def test_what_is_no_video_fails_at_once(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.avi"
    path.write_bytes(content)
    with pytest.raises(ReadFailedError, match="not a video") as caught:
        VideoReader(str(path))
    assert caught.value.permanent


def test_a_file_that_goes_away_may_come_back(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.avi", 2)
    reader = VideoReader(str(path))
    path.unlink()
    with pytest.raises(ReadFailedError, match="the file is gone") as caught:
        reader.rewind()
    assert caught.value.gone
    reader.close()


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
    """Its header promises 682 frames at 50 a second: every other one is empty, so there are 341, 40 ms apart."""
    path = DATA / "video" / "people-720p50.avi"
    if not path.exists():
        pytest.skip(f"{path} is not there: set SHARED_DATA_DIR")
    reader = VideoReader(str(path))
    assert reader.fps == 25.0
    for _ in range(2):
        count = 0
        while (picture := reader.read()) is not None:
            assert picture.image.shape == (720, 1280, 3)
            count += 1
        assert count == 341
        assert reader.read() is None
        assert ending_of(reader) == ""
        reader.rewind()
    reader.close()
