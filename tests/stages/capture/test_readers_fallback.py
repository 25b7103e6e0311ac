# SPDX-License-Identifier: Apache-2.0
"""Which decoder a source gets, and what is said of it. The device is played by FFmpeg on another file."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

from edged.stages.capture.fit import FitPlan, Fitter
from edged.stages.capture.readers import open_reader
from edged.stages.capture.readers.base import Picture, Reader, ReadFailedError, notes_of
from edged.stages.capture.readers.csi import open_csi
from edged.stages.capture.readers.device import DeviceReader, Play
from edged.stages.capture.readers.fallback import Machine, Wish, open_decoded
from edged.stages.capture.readers.gstreamer import has_gstreamer
from edged.stages.capture.readers.pipelines import Pipeline, Size
from edged.stages.capture.readers.video import VideoReader
from edged.stages.capture.uri import SourceUri, parse

FITTER = Fitter(FitPlan(size=(64, 64)))


def _clip(path: Path, code: str, size: tuple[int, int], frames: int = 4) -> str:
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*code), 25.0, size)
    assert writer.isOpened()
    for index in range(frames):
        writer.write(np.full((size[1], size[0], 3), 40 * index, np.uint8))
    writer.release()
    return str(path)


@pytest.fixture
def source(tmp_path: Path) -> SourceUri:
    """A file whose header says H.264: nothing here decodes it but its stand-in."""
    return parse(f"file://{_clip(tmp_path / 'clip.avi', 'MJPG', (320, 240))}")


class Labelled(VideoReader):
    """A file of one codec that says it were of another: OpenCV from PyPI writes no H.264."""

    @property
    def facts(self):  # type: ignore[no-untyped-def]
        return super().facts._replace(codec="h264")


def _device(tmp_path: Path) -> Play:
    """A device that has scaled the picture to 64 x 48."""
    scaled = _clip(tmp_path / "scaled.avi", "MJPG", (64, 48))
    return lambda text, live: VideoReader(scaled, live=live)


def _failing(text: str, live: bool) -> Reader:
    raise ReadFailedError(f"the pipeline {text} does not start")


def _open(source: SourceUri, machine: Machine, decode: str = "auto", within_s: float = 5.0) -> Reader:
    wish = Wish(decode, live=False, placement=FITTER.placement, machine=machine, within_s=within_s)
    return open_decoded(source, lambda: Labelled(source.target), wish)


def test_the_device_decodes_and_scales(source: SourceUri, tmp_path: Path) -> None:
    reader = _open(source, Machine("jetson", True, _device(tmp_path)))
    assert (reader.decode, reader.fps, notes_of(reader)) == ("hardware", 25.0, [])
    for _ in range(2):
        levels = []
        while (picture := reader.read()) is not None:
            assert (picture.image.shape, picture.source_size) == ((48, 64, 3), (240, 320))
            levels.append(round(float(picture.image.mean()), -1))
        assert levels == [0, 40, 80, 120]
        reader.rewind()
    reader.close()


@pytest.mark.parametrize(("decode", "told"), [("auto", 1), ("software", 0)])
def test_ffmpeg_has_it_where_the_device_fails(source: SourceUri, decode: str, told: int) -> None:
    reader = _open(source, Machine("discrete", True, _failing), decode)
    assert reader.decode == "software"
    notes = notes_of(reader)
    assert len(notes) == told
    for note in notes:
        assert note == (
            "decoded by the CPU, for the device failed: nvh264dec and cudascale does not start; "
            "nvh264dec does not start"
        )
    picture = reader.read()
    assert picture is not None
    assert picture.image.shape == (240, 320, 3)
    reader.close()


def test_a_device_that_never_delivers_is_left_behind(source: SourceUri, tmp_path: Path) -> None:
    go, closed = threading.Event(), threading.Event()

    class Stuck(VideoReader):
        def read(self) -> Picture | None:
            go.wait(20)
            return super().read()

        def close(self) -> None:
            super().close()
            closed.set()

    clip = _clip(tmp_path / "stuck.avi", "MJPG", (64, 48))
    begin = time.monotonic()
    reader = _open(source, Machine("jetson", True, lambda _, live: Stuck(clip, live=live)), within_s=0.2)
    assert time.monotonic() - begin < 3
    assert notes_of(reader) == ["decoded by the CPU, for the device failed: nvv4l2decoder no picture within 0.2 s"]
    assert reader.read() is not None
    reader.close()
    go.set()
    assert closed.wait(10), "what came too late was not closed"


@pytest.mark.parametrize(
    ("machine", "reason", "permanent"),
    [
        (Machine(None, True), "no NVIDIA decoder", True),
        (Machine("jetson", False), "no GStreamer", True),
        (Machine("jetson", True, _failing), "nvv4l2decoder does not start", False),
    ],
)
def test_hardware_that_is_impossible_says_why(
    source: SourceUri, machine: Machine, reason: str, permanent: bool
) -> None:
    with pytest.raises(ReadFailedError, match=reason) as caught:
        _open(source, machine, "hardware")
    assert caught.value.permanent is permanent
    assert 'decode = "hardware"' in str(caught.value)


def test_codecs_that_no_pipeline_is_made_for(source: SourceUri, tmp_path: Path) -> None:
    machine = Machine("jetson", True, _device(tmp_path))
    reader = open_decoded(source, lambda: VideoReader(source.target), Wish("auto", live=False, machine=machine))
    assert reader.decode == "software"
    assert "mjpeg" in notes_of(reader)[0]
    reader.close()
    with pytest.raises(ReadFailedError, match="mjpeg"):
        open_decoded(source, lambda: VideoReader(source.target), Wish("hardware", live=False, machine=machine))


def test_a_workstation_without_gstreamer_is_nothing_to_talk_about(source: SourceUri) -> None:
    for machine, told in ((Machine(None, False), 0), (Machine("discrete", False), 0), (Machine("jetson", False), 1)):
        reader = _open(source, machine)
        assert (reader.decode, len(notes_of(reader))) == ("software", told)
        reader.close()


@pytest.mark.parametrize("uri", ["synthetic://shapes", "v4l2:///dev/null"])
def test_what_has_no_decoder_refuses_hardware(uri: str) -> None:
    with pytest.raises(ReadFailedError, match="leave decode out") as caught:
        open_reader(parse(uri), live=True, decode="hardware")
    assert caught.value.permanent


@pytest.mark.skipif(not has_gstreamer(), reason="this OpenCV has no GStreamer")
def test_csi_wants_a_jetson(tmp_path: Path) -> None:
    with pytest.raises(ReadFailedError, match="no Jetson") as caught:
        open_csi(parse("csi://0"), root=tmp_path)
    assert caught.value.permanent


@pytest.mark.skipif(not has_gstreamer(), reason="this OpenCV has no GStreamer")
def test_a_real_pipeline_shows_its_first_picture() -> None:
    text = "videotestsrc num-buffers=5 ! video/x-raw,format=BGR,width=64,height=48 ! appsink"
    reader = DeviceReader(Pipeline("videotestsrc", text, scaled=True), Size(480, 640), live=False)
    frames = 0
    while (picture := reader.read()) is not None:
        assert (picture.image.shape, picture.source_size) == ((48, 64, 3), (480, 640))
        frames += 1
    assert frames == 5
    reader.close()
