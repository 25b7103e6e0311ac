# SPDX-License-Identifier: Apache-2.0
"""V4L2 cameras: what is asked for, what the driver makes of it, and when a frame was taken.

There is no camera on the machines that run this, and no kernel module that plays one: `Uvc` behaves as OpenCV's backend
does with a USB camera that has a few modes.
"""

from __future__ import annotations

import cv2
import pytest

from edged.errors import SettingsError
from edged.stages.capture.camera_options import CameraOptions
from edged.stages.capture.readers.opencv import Grabbed
from edged.stages.capture.readers.v4l2 import configure, differences, stamped, waited_too_long
from edged.stages.capture.uri import parse

MODES = {("YUYV", 640, 480): 30.0, ("YUYV", 1920, 1080): 5.0, ("MJPG", 1280, 720): 60.0, ("MJPG", 1920, 1080): 30.0}


class Uvc:
    """A driver that snaps to its nearest mode, and forgets the rate whenever format or size change."""

    def __init__(self, auto: int = 3) -> None:
        self.mode = ("YUYV", 640, 480)
        self.values: dict[int, float] = {cv2.CAP_PROP_FPS: 30.0, cv2.CAP_PROP_AUTO_EXPOSURE: auto}
        self.asked: list[int] = []
        self._auto = auto
        self._width = 0.0

    def ask(self, setting: int, value: float) -> None:
        self.asked.append(setting)
        code, width, height = self.mode
        if setting == cv2.CAP_PROP_FOURCC:
            wanted = int(value).to_bytes(4, "little").decode()
            self._snap(wanted if wanted in ("YUYV", "MJPG") else code, width, height)
        elif setting == cv2.CAP_PROP_FRAME_WIDTH:
            self._width = value
        elif setting == cv2.CAP_PROP_FRAME_HEIGHT:
            self._snap(code, self._width, value)
        elif setting == cv2.CAP_PROP_FPS:
            self.values[setting] = min(value, MODES[self.mode])
        elif setting == cv2.CAP_PROP_AUTO_EXPOSURE:
            self.values[setting] = value if value in (1, self._auto) else self.values[setting]
        elif setting == cv2.CAP_PROP_EXPOSURE:
            self.values[setting] = min(value, 500.0)

    def answer(self, setting: int) -> float:
        code, width, height = self.mode
        own = {
            cv2.CAP_PROP_FOURCC: float(int.from_bytes(code.encode(), "little")),
            cv2.CAP_PROP_FRAME_WIDTH: float(width),
            cv2.CAP_PROP_FRAME_HEIGHT: float(height),
        }
        return own.get(setting, self.values.get(setting, -1.0))

    def _snap(self, code: str, width: float, height: float) -> None:
        near = [mode for mode in MODES if mode[0] == code]
        self.mode = min(near, key=lambda mode: abs(mode[1] - width) + abs(mode[2] - height))
        self.values[cv2.CAP_PROP_FPS] = MODES[self.mode]


@pytest.mark.parametrize(
    ("query", "told"),
    [
        ("", []),
        ("format=MJPG&size=1920x1080&fps=30&exposure=10", []),
        ("size=1920x1080&format=mjpg&exposure=auto", []),
        ("size=1920x1080&fps=30", ["the camera gives 5 frames per second, not 30"]),
        ("format=H264", ["the camera gives pixel format YUYV, not H264"]),
        ("format=MJPG&size=4096x2160", ["the camera gives 1920x1080 pixels, not 4096x2160"]),
        ("exposure=80.5", ["the camera keeps an exposure of 50 ms, not 80.5 ms"]),
    ],
)
def test_what_was_asked_for_is_set_or_told(query: str, told: list[str]) -> None:
    wanted = parse(f"v4l2:///dev/video0?{query}").camera
    camera = Uvc()
    configure(camera, wanted)
    assert differences(camera, wanted) == told
    assert cv2.CAP_PROP_BUFFERSIZE in camera.asked


def test_nothing_is_touched_that_was_not_asked_for() -> None:
    camera = Uvc()
    configure(camera, CameraOptions())
    assert camera.asked == [cv2.CAP_PROP_BUFFERSIZE]


@pytest.mark.parametrize("auto", [0, 3])
def test_both_kinds_of_automatic_exposure(auto: int) -> None:
    camera, wanted = Uvc(auto), CameraOptions(exposure_ms=0.0)
    configure(camera, CameraOptions(exposure_ms=5.0))
    assert camera.answer(cv2.CAP_PROP_AUTO_EXPOSURE) == 1
    assert camera.answer(cv2.CAP_PROP_EXPOSURE) == 50
    assert differences(camera, wanted) == ["the camera does not take automatic exposure"]
    configure(camera, wanted)
    assert camera.answer(cv2.CAP_PROP_AUTO_EXPOSURE) == auto
    assert differences(camera, wanted) == []


def test_the_driver_s_clock_counts_where_it_is_sane() -> None:
    here = Grabbed(10_000_000_000, 1_700_000_000_000_000_000)
    assert stamped(here, 9_970_000_000) == Grabbed(9_970_000_000, 1_699_999_999_970_000_000)
    for strange in (0, 10_000_000_001, 7_000_000_000, 1_700_000_000_000_000_000):
        assert stamped(here, strange) == here


def test_the_frame_that_waited_is_passed_over_after_a_pause() -> None:
    assert not waited_too_long(60_000_000, 30.0)
    assert waited_too_long(70_000_000, 30.0)
    assert not waited_too_long(10**10, None)


@pytest.mark.parametrize(
    ("uri", "mentions"),
    [
        ("v4l2:///dev/video0?gain=3", "unknown option 'gain'"),
        ("v4l2:///dev/video0?mode=3", "known are format, size, fps, exposure"),
        ("v4l2:///dev/video0?format=MJPEG", "four letters"),
        ("v4l2:///dev/video0?size=1920", "width x height"),
        ("v4l2:///dev/video0?fps=0", "above 0"),
        ("v4l2:///dev/video0?exposure=0", "or auto"),
        ("v4l2:///dev/video0?exposure=fast", "or auto"),
        ("v4l2:///dev/video0?fps=5&fps=6", "twice"),
        ("csi://0?format=MJPG", "known are size, fps, exposure, mode"),
        ("csi://0?mode=-1", "sensor mode"),
        ("csi://0?u:S3cr@host=1", "***"),
        ("v4l2:///dev/video0?size=rtsp://u:S3cr@host", "***"),
    ],
)
def test_options_that_are_refused(uri: str, mentions: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse(uri)
    assert mentions in str(caught.value)
    assert "S3cr" not in str(caught.value)


def test_what_was_written_is_shown() -> None:
    source = parse("csi://01?size=1280x720&fps=60&exposure=auto&mode=2")
    assert (source.target, source.shown) == ("1", "csi://1?size=1280x720&fps=60&exposure=auto&mode=2")
    assert source.camera == CameraOptions(width=1280, height=720, fps=60.0, exposure_ms=0.0, mode=2)
