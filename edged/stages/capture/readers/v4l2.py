# SPDX-License-Identifier: Apache-2.0
"""Cameras on this machine, through Video4Linux."""

from __future__ import annotations

import os

import cv2

from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabber

# The driver fills one buffer while the other is read. More would hold old frames; with one the camera has nowhere to
# write meanwhile and loses every other frame.
_BUFFERS = 2


class V4l2Reader:
    """A camera device.

    Args:
        device: its path, for example ``/dev/video0``.

    Raises:
        ReadFailedError: it is not there, may not be read, or is in use.
    """

    decode = "software"

    def __init__(self, device: str) -> None:
        if not os.path.exists(device):
            raise ReadFailedError(f"there is no {device}: is the camera connected?")
        if not os.access(device, os.R_OK | os.W_OK):
            raise ReadFailedError(f"{device} may not be read: add the user that runs edged to the group video")
        try:
            self._grabber = Grabber(device, cv2.CAP_V4L2)
        except ReadFailedError as error:
            raise ReadFailedError(f"{device} is in use or no camera") from error
        self._grabber.ask(cv2.CAP_PROP_BUFFERSIZE, _BUFFERS)
        self._device = device

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the driver does not say."""
        return self._grabber.fps

    def read(self) -> Picture | None:
        """Take the next frame; a camera has no end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the camera is gone, or silent for longer than OpenCV waits (10 s).
        """
        picture = self._grabber.take()
        if picture is None:
            raise ReadFailedError(f"{self._device} gives no more frames")
        return picture

    def rewind(self) -> None:
        """Cameras do not go back."""
        raise ReadFailedError("a camera cannot start again", permanent=True)

    def close(self) -> None:
        """Let go of the device."""
        self._grabber.close()
