# SPDX-License-Identifier: Apache-2.0
"""Network cameras over RTSP, through FFmpeg."""

from __future__ import annotations

import time

from edged.stages.capture.readers.base import PATIENT, Patience, Picture, ReadFailedError
from edged.stages.capture.readers.ffmpeg import Decoded, FfmpegStream, StreamFacts
from edged.stages.capture.readers.rtsp_knock import knock, why_not
from edged.stages.capture.readers.stream_clock import StreamClock
from edged.stages.capture.uri import ENCODE, misplaced_at

_OPTIONS = {
    # UDP loses packets without telling.
    "rtsp_transport": "tcp",
    # Else the camera is asked for its sound as well, only to be thrown away.
    "allowed_media_types": "video",
    # Else FFmpeg waits for 21 frames to measure the rate (4 s of a camera at 5 frames per second) and then gives them
    # out at once, old as they are, with no way to tell. Not fflags=nobuffer, which loses the first key frame.
    "fpsprobesize": "0",
}
_MOST_LAG_NS = 200_000_000
_CATCH_UP_NS = 1_000_000_000


class RtspReader:
    """A network camera, over TCP.

    One decoder thread: with more, FFmpeg holds back as many frames as it has threads, and they would be old.

    When frames have waited in the buffers below for 0.2 s, as the stream's timestamps tell, they are passed over up to
    the newest one. What a frame's own lag was is taken off its time of arrival.

    Args:
        url: with its credentials.
        patience: how long connecting and a frame may take.
        live: whether the latest frame wins; else nothing is passed over, however old.

    Raises:
        ReadFailedError: it cannot be opened.
    """

    decode = "software"

    def __init__(self, url: str, patience: Patience = PATIENT, *, live: bool = True) -> None:
        self._live = live
        self._clock = StreamClock()
        self._overtaken = 0
        if misplaced_at(url):
            # What looks like the host may be a part of the password, and is not to be asked for in the whole network.
            raise ReadFailedError(f"cannot be opened: {ENCODE}", permanent=True)
        patience.step()
        knock(url, patience.open)
        begin = time.monotonic()
        patience.step()
        try:
            self._stream = FfmpegStream(url, options=_OPTIONS, timeout=(patience.open, patience.read))
        except ReadFailedError as error:
            late = time.monotonic() - begin >= 0.9 * patience.open
            said = ReadFailedError(f"no picture came within {patience.open:g} s") if late else error
            if late and not url.lower().startswith("rtsps:"):
                raise ReadFailedError(f"the camera answers, but {said}") from error
            patience.step()  # one that waits for more of what it takes for a request may have no TLS
            raise why_not(url, said) from error
        # What came while it was opened is given out at once: the newest of that is the first one to take.
        self._waiting = int((time.monotonic() - begin) * (self._stream.fps or 0.0))

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the camera does not say."""
        return self._stream.fps

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""
        return self._stream.facts

    def read(self) -> Picture | None:
        """Take the next frame; a camera has no end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the camera ended the stream, nothing came in time, or decoding is slower than the stream.
        """
        decoded, lag_ns = self._newest()
        picture = self._stream.picture(decoded)
        picture.captured_ns -= lag_ns
        picture.captured_at_ns -= lag_ns
        picture.overtaken, self._overtaken = self._overtaken, 0
        return picture

    def rewind(self) -> None:
        """Cameras do not go back."""
        raise ReadFailedError("a camera cannot start again", permanent=True)

    def close(self) -> None:
        """Leave the camera."""
        self._stream.close()

    def _newest(self) -> tuple[Decoded, int]:
        """The next frame that has not waited too long, and how long it has, nanoseconds."""
        begin_ns = time.monotonic_ns()
        decoded, lag_ns = self._take()
        if not self._live:
            return decoded, lag_ns
        while self._waiting > 0 and not self._clock.settled:
            self._waiting -= 1
            self._overtaken += 1
            decoded, lag_ns = self._take()
        self._waiting = 0
        # Less is caught up with by itself, without a frame lost; more would stay for ever, or grow.
        bound_ns = max(_MOST_LAG_NS, self._clock.period_ns)
        while lag_ns > bound_ns:
            bound_ns = self._clock.period_ns
            if time.monotonic_ns() - begin_ns > _CATCH_UP_NS:
                raise ReadFailedError(f"decoding is slower than the stream: frames were {lag_ns / 1e9:.1f} s old")
            self._overtaken += 1
            decoded, lag_ns = self._take()
        return decoded, lag_ns

    def _take(self) -> tuple[Decoded, int]:
        """The next frame, not converted yet, and how long it has waited for us, nanoseconds."""
        begin_ns, begin_cpu_ns = time.monotonic_ns(), time.thread_time_ns()
        decoded = self._stream.take()
        if decoded is None:
            raise ReadFailedError("the camera ended the stream")
        # What was spent computing is no waiting: decoding, that is.
        waited_ns = time.monotonic_ns() - begin_ns - (time.thread_time_ns() - begin_cpu_ns)
        return decoded, self._clock.lag_ns(decoded.stream_ns, decoded.captured_ns, waited_ns)
