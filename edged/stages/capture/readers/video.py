# SPDX-License-Identifier: Apache-2.0
"""Video files, through FFmpeg."""

from __future__ import annotations

import cv2

from edged.stages.capture.readers.base import DecodeError, Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabbed, Grabber, StreamFacts

# FFmpeg decodes whole frames side by side. Two threads give most of the gain (720p H.264: 1.6 ms a frame, 1.2 with two,
# no less with four); each more costs memory for its pictures, and cores that inference needs.
_THREADS = 2
_MOST_DAMAGED = 8


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
        self._held: Grabbed | None = None
        self._damaged = 0
        self._grabber = self._open()

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the header holds none."""
        return self._grabber.fps

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""
        return self._grabber.facts

    def read(self) -> Picture | None:
        """Take the next frame; None at the end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the file ended without a single picture.
        """
        if self._held is None:
            self._fetch()
        if self._damaged:
            self._damaged -= 1
            raise DecodeError("what the file holds of it cannot be decoded")
        grabbed, self._held = self._held, None
        if grabbed is not None:
            self._any = True
            return self._grabber.decode(grabbed)
        if not self._any:
            raise ReadFailedError("holds no frame that can be decoded", permanent=True)
        return None

    def rewind(self) -> None:
        """Open the file again: unlike seeking, it works with every container and with damaged ones."""
        self._grabber.close()
        self._any = False
        self._held, self._damaged = None, 0
        self._grabber = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._grabber.close()

    def _fetch(self) -> None:
        """Hold the next frame, and note how many before it were damaged; hold none at the end."""
        # OpenCV says the same of a damaged packet and of the end: only what comes behind it tells.
        for damaged in range(_MOST_DAMAGED):
            self._held = self._grabber.grab()
            if self._held is not None:
                self._damaged = damaged
                return

    def _open(self) -> Grabber:
        parameters = [cv2.CAP_PROP_N_THREADS, self._threads] if hasattr(cv2, "CAP_PROP_N_THREADS") else []
        try:
            return Grabber(self._path, cv2.CAP_FFMPEG, parameters)
        except ReadFailedError as error:
            raise ReadFailedError("is not a video that FFmpeg can read", permanent=True) from error
