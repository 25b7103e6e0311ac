# SPDX-License-Identifier: Apache-2.0
"""Network cameras over RTSP, through FFmpeg."""

from __future__ import annotations

import os
import time
from urllib.parse import urlsplit

import cv2

from edged.stages.capture.readers.base import PATIENT, DecodeError, Patience, Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabbed, Grabber, StreamFacts
from edged.stages.capture.readers.rtsp_knock import knock, why_not
from edged.stages.capture.readers.stream_clock import StreamClock

# TCP: which transport is the default has changed between versions of OpenCV, and UDP loses packets without telling.
# No frames to probe the rate: else FFmpeg waits for 21 of them (4 s of a camera at 5 frames per second) and then gives
# them out at once, old as they are, with no way to tell. Not fflags;nobuffer, which loses the first key frame.
_FFMPEG_OPTIONS = "rtsp_transport;tcp|fpsprobesize;0"
_MOST_LAG_NS = 200_000_000
_CATCH_UP_NS = 1_000_000_000
_AT_ONCE_NS = 1_000_000
_SURE_AFTER = 8
_MOST_DAMAGED = 16


class RtspReader:
    """A network camera, over TCP.

    OpenCV takes FFmpeg's options only from the environment, so opening one sets ``OPENCV_FFMPEG_CAPTURE_OPTIONS`` for
    the process, unless the user did. Other sources hardly notice (videos opened later are not probed for their rate).

    One decoder thread: with more, FFmpeg holds back as many frames as it has threads, and they would be old.

    When frames have waited in the buffers below for 0.2 s, as the stream's timestamps tell, they are passed over up to
    the newest one. What a frame's own lag was is taken off its time of arrival.

    Args:
        url: with its credentials.
        patience: how long connecting and a frame may take; OpenCV's own default is 30 s for both.

    Raises:
        ReadFailedError: it cannot be opened.
    """

    decode = "software"

    def __init__(self, url: str, patience: Patience = PATIENT) -> None:
        self._read_s = patience.read
        self._clock = StreamClock()
        self._held: tuple[Grabbed, int] | None = None
        self._damaged = self._overtaken = 0
        if "@" in url.partition(urlsplit(url).netloc)[2]:
            # Perhaps of a password that was not percent-encoded: then what looks like the host is a part of it.
            raise ReadFailedError("cannot be opened: if the password holds / ? or @, write these percent-encoded")
        patience.step()
        knock(url, patience.open)
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(patience.open * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(patience.read * 1000),
        ]
        if hasattr(cv2, "CAP_PROP_N_THREADS"):
            parameters += [cv2.CAP_PROP_N_THREADS, 1]
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
        begin = time.monotonic()
        patience.step()
        try:
            self._grabber = Grabber(url, cv2.CAP_FFMPEG, parameters)
        except ReadFailedError as error:
            if time.monotonic() - begin >= 0.9 * patience.open:
                raise ReadFailedError(f"the camera answers, but no picture came within {patience.open:g} s") from error
            patience.step()
            raise why_not(url) from error
        # What came while it was opened is given out at once: the newest of that is the first one to take.
        self._waiting = int((time.monotonic() - begin) * (self._grabber.fps or 0.0))

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the camera does not say."""
        return self._grabber.fps

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""
        return self._grabber.facts

    def read(self) -> Picture | None:
        """Take the next frame; a camera has no end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the camera ended the stream, nothing came in time, or decoding is slower than the stream.
        """
        if self._held is None and not self._damaged:
            self._fetch()
        if self._damaged:
            self._damaged -= 1
            raise DecodeError("what came of it cannot be decoded")
        assert self._held is not None
        (grabbed, lag_ns), self._held = self._held, None
        picture = self._grabber.decode(grabbed)
        picture.captured_ns -= lag_ns
        picture.captured_at_ns -= lag_ns
        picture.overtaken, self._overtaken = self._overtaken, 0
        return picture

    def rewind(self) -> None:
        """Cameras do not go back."""
        raise ReadFailedError("a camera cannot start again", permanent=True)

    def close(self) -> None:
        """Leave the camera."""
        self._grabber.close()

    def _fetch(self) -> None:
        """Hold the next frame that has not waited too long; or note only that some were damaged."""
        begin_ns = time.monotonic_ns()
        self._held = self._grab()
        while self._held is not None and self._waiting > 0 and not self._clock.settled:
            self._waiting -= 1
            self._overtaken += 1
            self._held = self._grab()
        self._waiting = 0
        # Less is caught up with by itself, without a frame lost; more would stay for ever, or grow.
        bound_ns = max(_MOST_LAG_NS, self._clock.period_ns)
        while self._held is not None and (lag_ns := self._held[1]) > bound_ns:
            bound_ns = self._clock.period_ns
            if time.monotonic_ns() - begin_ns > _CATCH_UP_NS:
                raise ReadFailedError(f"decoding is slower than the stream: frames were {lag_ns / 1e9:.1f} s old")
            self._overtaken += 1
            self._held = self._grab()

    def _grab(self) -> tuple[Grabbed, int] | None:
        """The next frame, not unpacked yet, and how long it has waited for us, nanoseconds; None for damaged ones."""
        damaged = at_once = 0
        while damaged < _MOST_DAMAGED:
            begin_ns, begin_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
            grabbed = self._grabber.grab()
            took_ns = time.monotonic_ns() - begin_ns
            waited_ns = took_ns - (time.thread_time_ns() - begin_cpu_ns)
            if grabbed is not None:
                self._damaged += damaged
                return grabbed, self._clock.lag_ns(self._grabber.stream_ns, grabbed.captured_ns, waited_ns)
            if took_ns >= 0.9e9 * self._read_s:
                raise ReadFailedError(f"no frame came within {self._read_s:g} s")
            # OpenCV says the same of a damaged packet and of the end; but the end it says again and again, at once.
            damaged += 1
            at_once = at_once + 1 if waited_ns < _AT_ONCE_NS else 0
            if at_once == _SURE_AFTER:
                raise ReadFailedError("the camera ended the stream")
        self._damaged += damaged
        return None
