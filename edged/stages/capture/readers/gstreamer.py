# SPDX-License-Identifier: Apache-2.0
"""Whatever GStreamer can play, where OpenCV was built with it."""

from __future__ import annotations

import re

import cv2

from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabber

WITHOUT = (
    "this OpenCV has no GStreamer, as no OpenCV from PyPI has: remove opencv-python and opencv-python-headless and "
    "install the system's OpenCV (python3-opencv; on a Jetson it comes with JetPack), in a virtual environment made "
    "with --system-site-packages"
)
_ADVICE = (
    "try it with gst-launch-1.0; it must end in videoconvert ! video/x-raw,format=BGR ! appsink drop=true max-buffers=1"
)


class GstreamerReader:
    """A GStreamer pipeline that ends in an ``appsink`` with video/x-raw, BGR or GRAY8.

    OpenCV says nothing of why a pipeline fails, and its own messages are off: they may hold what is in the pipeline.

    Args:
        pipeline: as for gst-launch-1.0.
        live: whether it plays a camera, which has no end. OpenCV does not tell an end from a failure.

    Raises:
        ReadFailedError: OpenCV has no GStreamer, or the pipeline does not start.
    """

    # Which decoder runs is the pipeline's own business; after decodebin it could only be guessed.
    decode = ""

    def __init__(self, pipeline: str, *, live: bool = True) -> None:
        if not has_gstreamer():
            raise ReadFailedError(WITHOUT, permanent=True)
        try:
            self._grabber = Grabber(pipeline, cv2.CAP_GSTREAMER)
        except ReadFailedError as error:
            raise ReadFailedError(f"the pipeline does not start: {_ADVICE}") from error
        self._live = live

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the pipeline does not say."""
        return self._grabber.fps

    def read(self) -> Picture | None:
        """Take the next frame; None when a pipeline that is not live has ended.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: a live pipeline gives no more frames.
        """
        picture = self._grabber.take()
        if picture is None and self._live:
            raise ReadFailedError("the pipeline gives no more frames")
        return picture

    def rewind(self) -> None:
        """Pipelines do not go back."""
        raise ReadFailedError("a pipeline cannot start again", permanent=True)

    def close(self) -> None:
        """Stop the pipeline."""
        self._grabber.close()


def has_gstreamer() -> bool:
    """Whether this OpenCV was built with GStreamer."""
    return re.search(r"GStreamer:\s+YES", cv2.getBuildInformation()) is not None
