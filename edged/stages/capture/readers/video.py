# SPDX-License-Identifier: Apache-2.0
"""Video files, through FFmpeg."""

from __future__ import annotations

import cv2

from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabber

# FFmpeg decodes whole frames side by side. Two threads give most of the gain (720p H.264: 1.6 ms a frame, 1.2 with two,
# no less with four); each more costs memory for its pictures, and cores that inference needs.
_THREADS = 2


class VideoReader:
    """A video file.

    It ends where no more frames can be decoded, whatever its header promised: a file that was cut off is a short file.

    Args:
        path: absolute, of the file.
        live: whether it is paced by its own rate, which takes no second decoder thread.

    Raises:
        ReadFailedError: it cannot be opened.
    """

    decode = "software"

    def __init__(self, path: str, *, live: bool = False) -> None:
        self._path = path
        self._threads = 1 if live else _THREADS
        self._any = False
        self._grabber = self._open()

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the header holds none."""
        return self._grabber.fps

    def read(self) -> Picture | None:
        """Take the next frame; None at the end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the file ended without a single picture.
        """
        picture = self._grabber.take()
        if picture is not None:
            self._any = True
        elif not self._any:
            raise ReadFailedError("holds no frame that can be decoded", permanent=True)
        return picture

    def rewind(self) -> None:
        """Open the file again: unlike seeking, it works with every container and with damaged ones."""
        self._grabber.close()
        self._any = False
        self._grabber = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._grabber.close()

    def _open(self) -> Grabber:
        parameters = [cv2.CAP_PROP_N_THREADS, self._threads] if hasattr(cv2, "CAP_PROP_N_THREADS") else []
        try:
            return Grabber(self._path, cv2.CAP_FFMPEG, parameters)
        except ReadFailedError as error:
            raise ReadFailedError("is not a video that FFmpeg can read", permanent=True) from error
