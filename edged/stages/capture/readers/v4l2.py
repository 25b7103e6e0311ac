# SPDX-License-Identifier: Apache-2.0
"""Cameras on this machine, through Video4Linux."""

from __future__ import annotations

import os
import time
from typing import Protocol

import cv2

from edged.stages.capture.camera_options import CameraOptions
from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabbed, Grabber

# The driver fills one buffer while the other is read. More would hold old frames; with one the camera has nowhere to
# write meanwhile and loses every other frame.
_BUFFERS = 2
_SANE_AGE_NS = 2_000_000_000
_NS = 10**9
# Of the control V4L2_CID_EXPOSURE_AUTO; drivers know one of the two kinds of automatic.
_AUTO, _MANUAL, _APERTURE_PRIORITY = 0, 1, 3
# V4L2_CID_EXPOSURE_ABSOLUTE counts in 100 µs.
_EXPOSURE_UNITS_PER_MS = 10.0
_FPS_TOLERANCE = 0.05
_EXPOSURE_TOLERANCE = 0.1


class Driver(Protocol):
    """Settings of a capture device, by OpenCV's numbers."""

    def ask(self, setting: int, value: float) -> None:
        """Ask for a setting; a driver that does not know it goes on without."""

    def answer(self, setting: int) -> float:
        """What a setting is."""


class V4l2Reader:
    """A camera device.

    The driver's own timestamps are used where they are sane, so that the time that a frame spent in its buffers counts
    as age. After a pause the frame that waited meanwhile is passed over, in live mode.

    Args:
        device: its path, for example ``/dev/video0``.
        wanted: what it is asked for.
        live: whether the latest frame wins; else nothing is passed over, however old.

    Raises:
        ReadFailedError: it is not there, may not be read, or is in use.
    """

    decode = "software"

    def __init__(self, device: str, wanted: CameraOptions | None = None, *, live: bool = True) -> None:
        if not os.path.exists(device):
            raise ReadFailedError(f"there is no {device}: is the camera connected?")
        if not os.access(device, os.R_OK | os.W_OK):
            raise ReadFailedError(f"{device} may not be read: add the user that runs edged to the group video")
        try:
            self._grabber = Grabber(device, cv2.CAP_V4L2)
        except ReadFailedError as error:
            raise ReadFailedError(f"{device} is in use or no camera") from error
        configure(self._grabber, wanted or CameraOptions())
        self.notes = tuple(differences(self._grabber, wanted or CameraOptions()))
        self._device = device
        self._fps = self._grabber.fps
        self._returned_ns = 0
        self._live = live

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the driver does not say."""
        return self._fps

    def read(self) -> Picture | None:
        """Take the next frame; a camera has no end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the camera is gone, or silent for longer than OpenCV waits (10 s).
        """
        overtaken = int(self._live and self._returned_ns > 0 and waited_too_long(self._away_ns(), self._fps))
        for _ in range(overtaken):
            self._grab()
        picture = self._grabber.decode(stamped(self._grab(), self._grabber.stream_ns))
        picture.overtaken = overtaken
        self._returned_ns = time.monotonic_ns()
        return picture

    def rewind(self) -> None:
        """Cameras do not go back."""
        raise ReadFailedError("a camera cannot start again", permanent=True)

    def close(self) -> None:
        """Let go of the device."""
        self._grabber.close()

    def _away_ns(self) -> int:
        return time.monotonic_ns() - self._returned_ns

    def _grab(self) -> Grabbed:
        grabbed = self._grabber.grab()
        if grabbed is None:
            raise ReadFailedError(f"{self._device} gives no more frames")
        return grabbed


def waited_too_long(away_ns: int, fps: float | None) -> bool:
    """Whether the one frame that can have waited in the driver is old: nobody came for more than two frames' time."""
    return fps is not None and away_ns > 2 * _NS / fps


def stamped(grabbed: Grabbed, driver_ns: int) -> Grabbed:
    """When a frame was taken, by the driver's clock if that is CLOCK_MONOTONIC, which it is for most.

    Args:
        grabbed: when it reached us.
        driver_ns: its timestamp, nanoseconds of some clock.
    """
    waited_ns = grabbed.captured_ns - driver_ns
    if not 0 < waited_ns < _SANE_AGE_NS:
        return grabbed
    return Grabbed(grabbed.captured_ns - waited_ns, grabbed.captured_at_ns - waited_ns)


def configure(driver: Driver, wanted: CameraOptions) -> None:
    """Ask for the settings that were given, in the order that drivers need: each may undo those behind it.

    Args:
        driver: of the device.
        wanted: what is asked for.
    """
    if wanted.format is not None:
        driver.ask(cv2.CAP_PROP_FOURCC, _fourcc(wanted.format))
    if wanted.width is not None and wanted.height is not None:
        driver.ask(cv2.CAP_PROP_FRAME_WIDTH, wanted.width)
        driver.ask(cv2.CAP_PROP_FRAME_HEIGHT, wanted.height)
    if wanted.fps is not None:
        driver.ask(cv2.CAP_PROP_FPS, wanted.fps)
    driver.ask(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
    if wanted.exposure_ms == 0.0:
        driver.ask(cv2.CAP_PROP_AUTO_EXPOSURE, _APERTURE_PRIORITY)
        if driver.answer(cv2.CAP_PROP_AUTO_EXPOSURE) != _APERTURE_PRIORITY:
            driver.ask(cv2.CAP_PROP_AUTO_EXPOSURE, _AUTO)
    elif wanted.exposure_ms is not None:
        driver.ask(cv2.CAP_PROP_AUTO_EXPOSURE, _MANUAL)
        driver.ask(cv2.CAP_PROP_EXPOSURE, round(wanted.exposure_ms * _EXPOSURE_UNITS_PER_MS))


def differences(driver: Driver, wanted: CameraOptions) -> list[str]:
    """What the driver made of what it was asked for, where that is something else; clauses for people."""
    found = []
    fourcc = int(driver.answer(cv2.CAP_PROP_FOURCC))
    if wanted.format is not None and fourcc != _fourcc(wanted.format):
        found.append(f"gives pixel format {_format(fourcc)}, not {wanted.format}")
    width, height = int(driver.answer(cv2.CAP_PROP_FRAME_WIDTH)), int(driver.answer(cv2.CAP_PROP_FRAME_HEIGHT))
    if wanted.width is not None and (width, height) != (wanted.width, wanted.height):
        found.append(f"gives {width}x{height} pixels, not {wanted.width}x{wanted.height}")
    fps = driver.answer(cv2.CAP_PROP_FPS)
    if wanted.fps is not None and abs(fps - wanted.fps) > _FPS_TOLERANCE * wanted.fps:
        found.append(f"gives {fps:g} frames per second, not {wanted.fps:g}")
    found += _exposure_difference(driver, wanted.exposure_ms)
    return [f"the camera {clause}" for clause in found]


def _exposure_difference(driver: Driver, wanted_ms: float | None) -> list[str]:
    if wanted_ms is None:
        return []
    automatic = driver.answer(cv2.CAP_PROP_AUTO_EXPOSURE) != _MANUAL
    if wanted_ms == 0.0:
        return [] if automatic else ["does not take automatic exposure"]
    exposure_ms = driver.answer(cv2.CAP_PROP_EXPOSURE) / _EXPOSURE_UNITS_PER_MS
    if not automatic and abs(exposure_ms - wanted_ms) <= max(_EXPOSURE_TOLERANCE, _FPS_TOLERANCE * wanted_ms):
        return []
    now = "automatic exposure" if automatic else f"an exposure of {exposure_ms:g} ms"
    return [f"keeps {now}, not {wanted_ms:g} ms"]


def _fourcc(text: str) -> int:
    return int(cv2.VideoWriter.fourcc(*text))


def _format(fourcc: int) -> str:
    text = bytes(fourcc >> shift & 0xFF for shift in (0, 8, 16, 24)).decode("ascii", "replace").strip("\0 ")
    return text if text.isprintable() and text else f"{fourcc:#x}"
