# SPDX-License-Identifier: Apache-2.0
"""Cameras: a real RTSP stream, and the ways a camera is not there."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import BinaryIO

import cv2
import numpy as np
import pytest

from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import Patience, Reader, ReadFailedError
from edged.stages.capture.readers.gstreamer import has_gstreamer
from edged.stages.capture.readers.rtsp import RtspReader
from edged.stages.capture.uri import parse

WIDTH, HEIGHT = 320, 240


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without what the user or an earlier test set."""
    monkeypatch.setenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", "")  # so that it is put back afterwards, set or not
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS")


SDP = (
    "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=test\r\nt=0 0\r\n"
    "m=video 0 RTP/AVP 26\r\na=control:track\r\na=framerate:25\r\n"
)


def _rtp_jpeg(level: int) -> tuple[bytes, bytes]:
    """Quantization tables and scan of a JPEG, the parts that RFC 2435 sends."""
    image = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420])[
        1
    ].tobytes()
    tables, at = b"", 2
    while data[at + 1] != 0xDA:
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if data[at + 1] == 0xDB:
            for table in range(at + 4, at + 2 + size, 65):
                tables += data[table + 1 : table + 65]
        at += 2 + size
    at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return tables, data[at:-2]


def _packets(index: int, sequence: int) -> list[bytes]:
    """One frame as interleaved RTP packets."""
    tables, scan = _rtp_jpeg(10 * index % 250)
    packets: list[bytes] = []
    for offset in range(0, len(scan), 1000):
        part = scan[offset : offset + 1000]
        marker = 0x80 if offset + 1000 >= len(scan) else 0
        header = bytes([0x80, 26 | marker]) + (sequence + len(packets)).to_bytes(2, "big")
        header += (index * 3600).to_bytes(4, "big") + b"\x00\x00\x00\x01"
        header += b"\x00" + offset.to_bytes(3, "big") + bytes([1, 255, WIDTH // 8, HEIGHT // 8])
        if offset == 0:
            header += b"\x00\x00" + len(tables).to_bytes(2, "big") + tables
        packets.append(b"$\x00" + len(header + part).to_bytes(2, "big") + header + part)
    return packets


def _request(requests: BinaryIO) -> dict[str, str]:
    """One request's method and sequence header; empty when the client has gone."""
    found: dict[str, str] = {}
    while (line := requests.readline().decode().strip()) != "":
        if not found:
            found["method"] = line.split()[0]
        elif line.lower().startswith("cseq"):
            found["number"] = line
    return found


def _answer(client: socket.socket, stop: threading.Event, frames: int, *, hold: bool, status: str, gap: float) -> None:
    """Speak RTSP with one client: up to PLAY, then send so many frames, then hang up or hold the line."""
    requests, method = client.makefile("rb"), ""
    heads = {
        "OPTIONS": "Public: DESCRIBE, SETUP, PLAY\r\n",
        "DESCRIBE": "Content-Type: application/sdp\r\n",
        "SETUP": "Session: 1\r\nTransport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n",
        "PLAY": "Session: 1\r\n",
    }
    while method != "PLAY" and (request := _request(requests)):
        method = request["method"]
        outcome, body = (status, SDP) if method == "DESCRIBE" else ("200 OK", "")
        head = f"RTSP/1.0 {outcome}\r\n{request['number']}\r\n{heads.get(method, '')}"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
    sequence = 0
    for index in range(frames if method == "PLAY" else 0):
        for packet in _packets(index, sequence):
            client.sendall(packet)
            sequence += 1
        if stop.wait(gap):
            return
    if hold:
        stop.wait(20)


@contextmanager
def _listening(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[int]:
    """A server on this machine for as long as the block runs; gives its port."""
    stop = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.05)

        def accept() -> None:
            while not stop.is_set():
                try:
                    client, _ = server.accept()
                except TimeoutError:
                    continue
                client.settimeout(10)
                with client:
                    try:
                        serve(client, stop)
                    except OSError:
                        continue  # the client hung up first

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            stop.set()
            thread.join(timeout=15)
            assert not thread.is_alive()


@contextmanager
def _camera(frames: int, *, hold: bool = False, status: str = "200 OK", gap: float = 0.01) -> Iterator[int]:
    with _listening(lambda client, stop: _answer(client, stop, frames, hold=hold, status=status, gap=gap)) as port:
        yield port


def _watch(reader: Reader, levels: list[float]) -> None:
    """Note the brightness of each frame, until the camera fails."""
    while len(levels) < 100:
        picture = reader.read()
        assert picture is not None
        assert picture.image.shape == (HEIGHT, WIDTH, 3)
        levels.append(float(picture.image.mean()))


def test_frames_come_and_the_end_is_a_failure() -> None:
    with _camera(frames=40) as port:
        reader = open_reader(parse(f"rtsp://admin:S3cr@127.0.0.1:{port}/stream"), live=True)
        assert reader.decode == "software"
        levels: list[float] = []
        with pytest.raises(ReadFailedError, match="ended the stream") as caught:
            _watch(reader, levels)
        reader.close()
    assert not caught.value.permanent
    assert len(levels) >= 30
    # They rise to the top and begin again; those that came while it was being opened are passed over.
    rising = levels[: levels.index(max(levels)) + 1]
    assert len(rising) >= 20
    assert rising == sorted(rising)


def test_a_slow_camera_opens_at_once_and_its_frames_are_fresh() -> None:
    """By default FFmpeg gathers 21 frames before it gives out the first, and all of them at once."""
    with _camera(frames=50, gap=0.2) as port:
        begin = time.monotonic()
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream")
        assert time.monotonic() < begin + 2
        arrivals = []
        for _ in range(5):
            picture = reader.read()
            assert picture is not None
            arrivals.append(picture.captured_ns / 1e9)
        reader.close()
    assert arrivals[-1] - arrivals[1] > 0.4


def test_what_waited_while_nobody_read_is_passed_over() -> None:
    """Its timestamps say that a frame comes every 40 ms, as it does."""
    with _camera(frames=200, gap=0.04) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream")
        for _ in range(20):
            picture = reader.read()
        assert picture is not None
        assert picture.overtaken == 0
        time.sleep(1.0)
        begin = time.monotonic()
        picture = reader.read()
        assert picture is not None
        assert time.monotonic() - begin < 0.2
        assert 15 <= picture.overtaken <= 40
        # What it still was late is told.
        assert 0 <= time.monotonic_ns() - picture.captured_ns < 0.2e9
        picture = reader.read()
        assert picture is not None
        assert picture.overtaken == 0
        reader.close()


def test_a_silent_camera_times_out() -> None:
    with _camera(frames=20, hold=True) as port:
        reader = RtspReader(f"rtsp://127.0.0.1:{port}/stream", Patience(read=0.5))
        begin = time.monotonic()
        with pytest.raises(ReadFailedError, match=r"no frame came within 0\.5 s"):
            _watch(reader, [])
        assert time.monotonic() < begin + 3
        reader.close()


def _hold(stop: threading.Event) -> None:
    stop.wait(20)


def test_a_black_hole_times_out() -> None:
    with _listening(lambda _, stop: _hold(stop)) as port:
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
    with _camera(frames=0, status=status) as port, pytest.raises(ReadFailedError, match=reason) as caught:
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
