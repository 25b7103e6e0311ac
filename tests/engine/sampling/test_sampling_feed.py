# SPDX-License-Identifier: Apache-2.0
"""Frames from a thread: all of a lossless source, the newest of a live one, and no wait that cannot be ended."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import numpy as np
import pytest
from support.rtp_camera import Play, camera, listening

from edged.engine.sampling.feed import EndedError, Feed, SilentError, StoppedError, failure
from edged.engine.sampling.steady import SteadySource
from edged.errors import DeviceUnavailableError, SourceError
from edged.shm.wake import Wake
from edged.stages.capture.readers.base import Picture
from edged.stages.capture.shapes import ShapesScene
from edged.stages.capture.uri import parse


def _all(feed: Feed) -> tuple[list[tuple[int, Picture]], EndedError]:
    """All frames that come, and the end."""
    pictures = []
    while True:
        try:
            pictures.append(feed.take(5.0))
        except EndedError as ended:
            return pictures, ended


def test_lossless_gives_every_frame_to_who_takes_its_time() -> None:
    feed = Feed(parse("synthetic://shapes?size=64x48&frames=20"), live=False, fps=1.0)
    scene = ShapesScene(0, 64, 48, 30.0)
    pictures, ended = _all(feed)
    feed.close()
    assert failure(ended) is None
    assert [number for number, _ in pictures] == list(range(20))
    assert all(np.array_equal(picture.image, scene.render(number)) for number, picture in pictures)
    assert feed.taken == 20


def test_live_is_paced_and_capped() -> None:
    begin = time.monotonic()  # before its thread begins to count
    feed = Feed(parse("synthetic://shapes?size=64x48&fps=50&frames=50"), live=True, fps=10.0)
    numbers = [number for number, _ in _all(feed)[0]]
    took = time.monotonic() - begin
    feed.close()
    assert 0.9 < took < 10
    assert 3 <= len(numbers) <= 10 * took + 6
    assert numbers == sorted(set(numbers))
    assert feed.taken == 50


def _hold(ending: threading.Event) -> None:
    ending.wait(20)


def test_a_stop_ends_a_wait_for_a_camera_that_hangs() -> None:
    stop = Wake()
    with listening(lambda _, ending: _hold(ending)) as port:
        feed = Feed(parse(f"rtsp://u:S3cr@127.0.0.1:{port}/stream"), live=True, fps=10.0)
        timer = threading.Timer(0.3, stop.set)
        timer.start()
        begin = time.monotonic()
        with pytest.raises(StoppedError):
            feed.take(30.0, stop)
        assert time.monotonic() - begin < 5.0
        with pytest.raises(SilentError):
            feed.take(0.05)
        begin = time.monotonic()
        feed.close()
        assert time.monotonic() - begin < 5.0
        timer.join()
    stop.close()


def _until(source: SteadySource, count: int) -> int:
    """Take so many frames at the most; gives how many came."""
    found = 0
    while found < count:
        found += source.take(0.5) is not None
    return found


def test_a_camera_that_never_delivers_is_an_error_in_time() -> None:
    with listening(lambda _, ending: _hold(ending)) as port:
        uri = f"rtsp://u:S3cr@127.0.0.1:{port}/stream"
        source = SteadySource(parse(uri), live=True, fps=10.0, patience_s=0.5)
        begin = time.monotonic()
        with pytest.raises(DeviceUnavailableError, match=r"no frame came within 0\.5 s") as caught:
            _until(source, 1)
        assert time.monotonic() - begin < 5.0
        source.close()
    assert "S3cr" not in str(caught.value)
    assert caught.value.exit_code == 69


def test_a_camera_that_hangs_up_is_opened_again() -> None:
    with camera(Play(40)) as port:
        source = SteadySource(parse(f"rtsp://u:S3cr@127.0.0.1:{port}/stream"), live=True, fps=1000.0, patience_s=5.0)
        numbers: list[int] = []
        end = time.monotonic() + 15
        while len(numbers) < 2 or numbers[-1] < 45:
            assert time.monotonic() < end
            taken = source.take(0.5)
            numbers += [] if taken is None else [taken[0]]
        source.close()
    assert numbers == sorted(set(numbers))
    assert source.taken > 45


def test_a_refused_camera_is_told_at_once() -> None:
    source = SteadySource(parse("rtsp://u:S3cr@127.0.0.1:1/stream"), live=True, fps=10.0, patience_s=30.0)
    begin = time.monotonic()
    with pytest.raises(DeviceUnavailableError, match="refused"):
        _until(source, 1)
    source.close()
    assert time.monotonic() - begin < 5.0


def test_files_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"nothing like a video")
    source = SteadySource(parse(f"file://{tmp_path}/a.mp4"), live=False, fps=10.0, patience_s=30.0)
    with pytest.raises(SourceError, match="not a video"):
        _until(source, 1)
    source.close()
    with pytest.raises(SourceError):
        SteadySource(parse(f"file://{tmp_path}/b.mp4"), live=False, fps=10.0, patience_s=30.0)
