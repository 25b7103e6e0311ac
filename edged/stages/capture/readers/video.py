# SPDX-License-Identifier: Apache-2.0
"""Video files, through FFmpeg."""

from __future__ import annotations

from edged.stages.capture.readers.base import DecodeError, Picture, ReadFailedError
from edged.stages.capture.readers.ffmpeg import FfmpegStream, StreamFacts

# FFmpeg decodes whole frames side by side. Two threads give most of the gain (720p H.264: 1.6 ms a frame, 1.2 with two,
# no less with four); each more costs memory for its pictures, and cores that inference needs.
_THREADS = 2
_MOST_DAMAGED = 4096


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
        self._stream = self._open()

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
            return self._stream.picture(decoded)
        if not self._any:
            raise ReadFailedError("holds no frame that can be decoded", permanent=True)
        return None

    def rewind(self) -> None:
        """Open the file again: unlike seeking, it works with every container and with damaged ones."""
        self._stream.close()
        self._any, self._damaged = False, 0
        self._stream = self._open()

    def close(self) -> None:
        """Let go of the file."""
        self._stream.close()

    def _open(self) -> FfmpegStream:
        try:
            return FfmpegStream(self._path, threads=self._threads)
        except ReadFailedError as error:
            raise ReadFailedError(f"is not a video that FFmpeg can read ({error})", permanent=True) from error
