# SPDX-License-Identifier: Apache-2.0
"""Cameras: a real RTSP stream, and the ways a camera is not there."""

from __future__ import annotations

import socket
import threading
import time
from itertools import pairwise

import pytest
from support.rtp_camera import HEIGHT, WIDTH, Play, camera, listening

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import Patience, Reader, ReadFailedError
from edged.stages.capture.readers.gstreamer import has_gstreamer
from edged.stages.capture.readers.rtsp import RtspReader
from edged.stages.capture.uri import parse


def _watch(reader: Reader, levels: list[float]) -> None:
    """Note the brightness of each frame, until the camera fails."""
    while len(levels) < 100:
        picture = reader.read()
        assert picture is not None
        assert picture.image.shape == (HEIGHT, WIDTH, 3)
        levels.append(float(picture.image.mean()))


def _keep(reader: Reader, levels: list[float]) -> float:
    """Note the next frame, of which none before it was passed over; returns its age, seconds."""
    picture = reader.read()
    assert picture is not None
    assert picture.overtaken == 0
    levels.append(float(picture.image.mean()))
    return (time.monotonic_ns() - picture.captured_ns) / 1e9


def _keep_all(reader: Reader, levels: list[float]) -> None:
    """The same, until the camera fails."""
    while True:
        _keep(reader, levels)


def _look(reader: Reader, shapes: list[tuple[int, ...]]) -> None:
    """Note the shape of each picture, until the camera fails."""
    while picture := reader.read():
        shapes.append(picture.image.shape)


def test_frames_come_and_the_end_is_a_failure() -> None:
    with camera(Play(80)) as port:
        reader = open_reader(parse(f"rtsp://admin:S3cr@127.0.0.1:{port}/stream"), live=True)
        assert reader.decode == "software"
        levels: list[float] = []
        with pytest.raises(ReadFailedError, match="ended the stream") as caught:
            _watch(reader, levels)
        reader.close()
    assert not caught.value.permanent
    assert len(levels) >= 30
    # They rise to the top and begin again; only those that came while it was being opened are passed over.
    steps = [round(level / 10) for level in levels]
    assert all(after == (before + 1) % 25 for before, after in pairwise(steps)), levels


def test_a_slow_camera_opens_at_once_and_its_frames_are_fresh() -> None:
    """By default FFmpeg gathers 21 frames before it gives out the first, and all of them at once."""
    with camera(Play(50, gap=0.2)) as port:
        begin = time.monotonic()
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream")
        assert time.monotonic() < begin + 3.5  # 21 frames are 4.2 s
        arrivals = []
        for _ in range(5):
            picture = reader.read()
            assert picture is not None
            arrivals.append(picture.captured_ns / 1e9)
        reader.close()
    assert arrivals[-1] - arrivals[1] > 0.4


def test_what_waited_while_nobody_read_is_passed_over() -> None:
    """Its timestamps say that a frame comes every 40 ms, as it does."""
    with camera(Play(200, gap=0.04)) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream")
        for _ in range(20):
            picture = reader.read()
        assert picture is not None
        assert picture.overtaken == 0
        # A busy machine may keep the camera from sending in one of these seconds, not in all of them.
        for _ in range(3):
            before = time.monotonic()
            time.sleep(1.0)
            begin = time.monotonic()
            picture = reader.read()
            assert picture is not None
            # Waiting for so many would take a second.
            assert time.monotonic() - begin < 0.8
            assert picture.overtaken <= (time.monotonic() - before) / 0.04 + 15
            # What it still was late is told.
            assert 0 <= time.monotonic_ns() - picture.captured_ns < 0.8e9
            if picture.overtaken >= 15:
                break
        assert picture.overtaken >= 15
        picture = reader.read()
        assert picture is not None
        assert picture.overtaken == 0
        reader.close()


def test_in_lossless_mode_nothing_is_passed_over() -> None:
    """A camera cannot wait, but what its connection holds comes, however late, and says how late."""
    with camera(Play(100, gap=0.04)) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream", live=False)
        levels: list[float] = []
        for _ in range(20):
            _keep(reader, levels)
        time.sleep(1.0)
        late_s = _keep(reader, levels)
        assert 0 <= late_s < 5.0
        with pytest.raises(ReadFailedError, match="ended the stream"):
            _keep_all(reader, levels)
        reader.close()
    steps = [round(level / 10) for level in levels]
    assert len(steps) == 100
    assert all(after == (before + 1) % 25 for before, after in pairwise(steps)), levels


def test_pictures_that_change_their_size_are_given_as_they_are() -> None:
    with camera(Play(80, doubled_from=60)) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream")
        assert reader.facts == ("mjpeg", HEIGHT, WIDTH)
        shapes: list[tuple[int, ...]] = []
        with pytest.raises(ReadFailedError, match="ended the stream"):
            _look(reader, shapes)
        reader.close()
    small, large = (HEIGHT, WIDTH, 3), (2 * HEIGHT, 2 * WIDTH, 3)
    assert shapes == [small] * shapes.count(small) + [large] * 20
    assert shapes.count(small) >= 20


def test_a_silent_camera_times_out() -> None:
    with camera(Play(20, hold=True)) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream", Patience(read=0.5))
        begin = time.monotonic()
        with pytest.raises(ReadFailedError, match=r"no frame came within 0\.5 s"):
            _watch(reader, [])
        assert time.monotonic() < begin + 3
        reader.close()


def _hold(stop: threading.Event) -> None:
    stop.wait(20)


def test_a_black_hole_times_out() -> None:
    with listening(lambda _, stop: _hold(stop)) as port:
        begin = time.monotonic()
        with pytest.raises(ReadFailedError, match=rf"127\.0\.0\.1:{port} does not answer within 0\.5 s"):
            RtspReader(f"rtsp://u:S3cr@127.0.0.1:{port}/stream", Patience(open=0.5))
        assert time.monotonic() < begin + 3


@pytest.mark.parametrize(
    ("status", "login", "reason", "refused"),
    [
        ("401 Unauthorized", "admin:S3cr@", r"refuses user or password \(401\)", True),
        ("401 Unauthorized", "", r"wants a user and password \(401\)", True),
        ("403 Forbidden", "admin:S3cr@", r"refuses user or password \(403\)", True),
        ("404 Not Found", "admin:S3cr@", r"has no stream at this path \(404\)", False),
        ("555 Tea", "admin:S3cr@", "answers with status 555", False),
    ],
)
def test_a_refusal_says_what_to_check(status: str, login: str, reason: str, refused: bool) -> None:
    with camera(Play(0, status=status)) as port, pytest.raises(ReadFailedError, match=reason) as caught:
        RtspReader(f"rtsp://{login}127.0.0.1:{port}/stream")
    assert "S3cr" not in str(caught.value)
    assert caught.value.refused == refused
    assert not caught.value.permanent


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ReadFailedError, match=rf"127\.0\.0\.1:{port}: connection refused"):
        RtspReader(f"rtsp://u:S3cr@127.0.0.1:{port}/s")


def test_unknown_host() -> None:
    with pytest.raises(ReadFailedError, match=r"camera\.invalid"):
        RtspReader("rtsp://u:S3cr@camera.invalid/s", Patience(open=3))


def test_reasons_are_redacted() -> None:
    error = ReadFailedError("rtsp://admin:S3cr@host/s failed")
    assert str(error) == "rtsp://***@host/s failed"
    assert "S3cr" not in repr(error)


def test_no_such_device() -> None:
    with pytest.raises(ReadFailedError, match="there is no /dev/video99") as caught:
        open_reader(parse("v4l2:///dev/video99"), live=True)
    assert not caught.value.permanent  # it may be plugged in


def test_a_device_that_is_no_camera() -> None:
    with pytest.raises(ReadFailedError, match="no camera"):
        open_reader(parse("v4l2:///dev/null"), live=True)


@pytest.mark.skipif(has_gstreamer(), reason="this OpenCV has GStreamer")
@pytest.mark.parametrize("uri", ["gst:videotestsrc ! appsink", "csi://0"])
def test_without_gstreamer_it_says_what_to_do(uri: str) -> None:
    with pytest.raises(ReadFailedError, match=r"no GStreamer.*python3-opencv") as caught:
        open_reader(parse(uri), live=True)
    assert caught.value.permanent


@pytest.mark.skipif(not has_gstreamer(), reason="this OpenCV has no GStreamer")
def test_gstreamer_pipeline_ends() -> None:
    pipeline = "videotestsrc num-buffers=5 ! videoconvert ! video/x-raw,format=BGR ! appsink"
    reader = open_reader(parse(f"gst:{pipeline}"), live=False)
    count = 0
    while (picture := reader.read()) is not None:
        assert picture.image.shape[2] == 3
        count += 1
    assert count == 5
    reader.close()
