# SPDX-License-Identifier: Apache-2.0
"""Video files, through FFmpeg."""

from __future__ import annotations

import os

from edged.stages.capture.readers.base import DecodeError, Picture, ReadFailedError, arrival
from edged.stages.capture.readers.ffmpeg import FfmpegStream, StreamFacts

# FFmpeg decodes whole frames side by side. Two threads give most of the gain (720p H.264: 1.6 ms a frame, 1.2 with two,
# no less with four); each more costs memory for its pictures, and cores that inference needs.
_THREADS = 2
_MOST_DAMAGED = 4096
_UNSHOWN = 0.05
_USUAL_FPS = 25.0


class VideoReader:
    """A video file.

    It ends where no more frames can be read, whatever its header promised: a file that was cut off is a short file.

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
        self._damaged = 0
        self._reached_s = 0.0
        self._stream = self._open()

    @property
    def ending(self) -> str:
        """What is missing at the end; empty where nothing is, or nobody knows.

        Not every container counts its frames, and some count a few that are never shown.
        """
        promised_s = self._stream.promised_s
        shown_s = 2.0 / (self.fps or _USUAL_FPS)
        if self._reached_s + shown_s >= (1.0 - _UNSHOWN) * promised_s:
            return ""
        return f"its header promises {promised_s:.1f} s and {self._reached_s:.1f} s came: it was cut off, or is damaged"

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the header holds none."""
        return self._stream.fps

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""
        return self._stream.facts

    def read(self) -> Picture | None:
        """Take the next frame; None at the end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the file ended without a single picture, or the disk fails.
        """
        try:
            decoded = self._stream.take()
        except DecodeError:
            self._damaged += 1
            if self._damaged < _MOST_DAMAGED:
                raise
            decoded = None  # nothing but damage, perhaps for ever: that is its end
        if decoded is not None:
            self._any, self._damaged = True, 0
            self._reached_s = max(self._reached_s, decoded.stream_ns / 1e9)
            # Out of a file a frame comes when it is decoded; from a camera, with its packet.
            captured_ns, captured_at_ns = arrival()
            return self._stream.picture(decoded._replace(captured_ns=captured_ns, captured_at_ns=captured_at_ns))
        if not self._any:
            raise ReadFailedError("holds no frame that can be decoded", permanent=True)
        return None

    def rewind(self) -> None:
        """Open the file again: unlike seeking, it works with every container and with damaged ones."""
        self._stream.close()
        self._any, self._damaged, self._reached_s = False, 0, 0.0
        self._stream = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def _open(self) -> FfmpegStream:
        try:
            return FfmpegStream(self._path, threads=self._threads, holds=True)
        except ReadFailedError as error:
            if not os.path.exists(self._path):
                raise ReadFailedError("the file is gone", permanent=True, gone=True) from error
            raise ReadFailedError(f"is not a video that FFmpeg can read ({error})", permanent=True) from error
