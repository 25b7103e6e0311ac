# SPDX-License-Identifier: Apache-2.0
"""A source that the device decodes, through a generated GStreamer pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edged.stages.capture.readers.base import DecodeError, Picture, Reader, ReadFailedError
from edged.stages.capture.readers.gstreamer import GstreamerReader
from edged.stages.capture.readers.pipelines import Pipeline, Size

FIRST_PICTURE_S = 6.0
"""How long a pipeline may take to show that it works: some cameras send a key frame every five seconds only."""


Play = Callable[[str, bool], Reader]
"""Plays a pipeline, live or not."""


def play(text: str, live: bool) -> Reader:
    """Play a pipeline through OpenCV."""
    return GstreamerReader(text, live=live)


class DeviceReader:
    """Pictures that a pipeline decodes, and perhaps scales, on the device.

    It is open once the first picture is there: pipelines that start and never deliver are the common failure.

    Args:
        pipeline: what to play.
        native: size of the source's pictures.
        live: whether it plays a camera, which has no end.
        within_s: how long the first picture may take, seconds.
        play: plays a pipeline.

    Raises:
        ReadFailedError: no picture came in time.
    """

    decode = "hardware"

    def __init__(
        self,
        pipeline: Pipeline,
        native: Size,
        *,
        live: bool,
        within_s: float = FIRST_PICTURE_S,
        play: Play = play,
    ) -> None:
        self._pipeline = pipeline
        self._source_size = (native.height, native.width) if pipeline.scaled else None
        self._live = live
        self._within_s = within_s
        self._play = play
        self._reader, self._first = self._start()

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the pipeline does not say."""
        return self._reader.fps

    def read(self) -> Picture | None:
        """Take the next frame; None when a file has ended.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: a live pipeline gives no more frames; also where its picture size has changed.
        """
        picture, self._first = self._first, None
        if picture is None:
            picture = self._reader.read()
        if picture is not None:
            picture.source_size = self._source_size
        return picture

    def rewind(self) -> None:
        """Start again with the first frame of a file.

        Raises:
            ReadFailedError: a camera, or no picture comes.
        """
        if self._live:
            raise ReadFailedError("a camera cannot start again", permanent=True)
        self._reader.close()
        self._reader, self._first = self._start()

    def close(self) -> None:
        """Stop the pipeline."""
        self._reader.close()

    def _start(self) -> tuple[Reader, Picture | None]:
        return _Trial(self._play, self._pipeline.text, live=self._live).outcome(self._within_s)


class _Trial(threading.Thread):
    """Opens a pipeline and waits for its first picture, in a thread that can be left behind if it never comes."""

    def __init__(self, play: Play, text: str, *, live: bool) -> None:
        super().__init__(name="first-picture", daemon=True)
        self._play = play
        self._text = text
        self._live = live
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._found: tuple[Reader, Picture] | None = None
        self._reason = ""
        self._left_behind = False

    def outcome(self, within_s: float) -> tuple[Reader, Picture]:
        """The open pipeline and its first picture."""
        self.start()
        self._done.wait(within_s)
        with self._lock:
            if self._found is not None:
                return self._found
            self._left_behind = True
        raise ReadFailedError(self._reason or f"no picture within {within_s:g} s")

    def run(self) -> None:
        """Try."""
        try:
            reader = self._play(self._text, self._live)
        except ReadFailedError:
            self._give_up("does not start")
            return
        picture = self._first_of(reader)
        with self._lock:
            if picture is not None and not self._left_behind:
                self._found = (reader, picture)
        if self._found is None:
            reader.close()
            self._give_up("ends without a picture")
        self._done.set()

    def _first_of(self, reader: Reader) -> Picture | None:
        while not self._left_behind:
            try:
                return reader.read()
            except DecodeError:
                continue
            except ReadFailedError:
                return None
        return None

    def _give_up(self, reason: str) -> None:
        self._reason = reason
        self._done.set()
