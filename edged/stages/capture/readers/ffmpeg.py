# SPDX-License-Identifier: Apache-2.0
"""A video stream that FFmpeg reads and the CPU decodes: what files and network cameras share.

Through PyAV rather than ``cv2.VideoCapture``, which opens everything at the size of the first picture (a stream that
changes its size is stretched to it without a word), says the same of a damaged packet and of the end, and takes
FFmpeg's options from the environment only. Pixels are the same to the last bit.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import av
import av.error
import cv2
import numpy as np
from av.video.frame import PictureType, VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from numpy.typing import NDArray

from edged.stages.capture.readers.base import SANE_FPS, DecodeError, Picture, ReadFailedError, arrival
from edged.stages.capture.readers.damage import DamageTrack

_TURNS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}
_REFUSALS = (av.error.HTTPUnauthorizedError, av.error.HTTPForbiddenError)


class StreamFacts(NamedTuple):
    """What an open stream is made of: FFmpeg's name of the codec, and the picture size in pixels."""

    codec: str
    height: int
    width: int


class Decoded(NamedTuple):
    """A frame as the decoder made it.

    Attributes:
        frame: in the stream's own pixel format.
        captured_ns: CLOCK_MONOTONIC when the packet came that completed it, nanoseconds.
        captured_at_ns: the same as Unix time.
        stream_ns: its timestamp, nanoseconds from an origin of the stream's own; 0 where it has none.
        damaged: whether parts of it are the decoder's guess.
    """

    frame: VideoFrame
    captured_ns: int
    captured_at_ns: int
    stream_ns: int
    damaged: bool = False


class FfmpegStream:
    """The video of one file or address; one thread uses it.

    Args:
        target: what FFmpeg opens, credentials included.
        options: FFmpeg's, of the protocol and the container.
        timeout: for opening and for each packet, seconds; None to wait for ever.
        threads: that decode. With more than one, FFmpeg holds back as many frames.
        holds: whether frames may be held back until it is known whether they are damaged, see `DamageTrack`.

    Raises:
        ReadFailedError: it cannot be opened, or there is no video in it.
    """

    def __init__(
        self,
        target: str,
        *,
        options: Mapping[str, str] | None = None,
        timeout: tuple[float, float] | None = None,
        threads: int = 1,
        holds: bool = False,
    ) -> None:
        try:
            # Metadata are anybody's bytes, and none of ours.
            self._container = av.open(
                target, "r", options=dict(options or {}), timeout=timeout, metadata_errors="replace"
            )
        except av.error.FFmpegError as error:
            # Not chained: its text holds the whole address.
            raise ReadFailedError(why(error), refused=isinstance(error, _REFUSALS)) from None
        best = self._container.streams.best("video")
        if not isinstance(best, VideoStream):
            self._container.close()
            raise ReadFailedError("holds no video")
        self._stream = best
        best.thread_count = threads
        best.thread_type = "FRAME"
        self._read_s = timeout[1] if timeout else 0.0
        self._packets: Iterator[Any] = self._container.demux(best)
        self._ready: deque[Decoded] = deque()
        self._damage: DamageTrack[Decoded] = DamageTrack(holds=holds)
        self._reformatter = VideoReformatter()

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where it is missing or absurd.

        Of the two that FFmpeg has, the lower one: its guess is what the closest frames need (90 a second in the films
        of some telephones), its average counts packets that hold nothing.
        """
        low, high = SANE_FPS
        rates = (float(rate) for rate in (self._stream.guessed_rate, self._stream.average_rate) if rate)
        return min((rate for rate in rates if low <= rate <= high), default=None)

    @property
    def promised_s(self) -> float:
        """How long it lasts by what the container's header counts, seconds; 0 where it counts nothing.

        FFmpeg's own figure of the duration is what is left of a file that was cut off. The count includes packets that
        hold nothing, and so does the average rate.
        """
        rate = self._stream.average_rate
        return float(self._stream.frames / rate) if rate else 0.0

    @property
    def facts(self) -> StreamFacts:
        """What the stream is made of."""
        context = self._stream.codec_context
        return StreamFacts(context.name, context.height, context.width)

    def take(self) -> Decoded | None:
        """The next frame; None at the end.

        Raises:
            DecodeError: what came cannot be decoded; the next call goes on behind it.
            ReadFailedError: nothing came in time, or the connection failed.
        """
        while not self._ready:
            packet = self._packet()
            if packet is None:
                self._ready.extend(_marked(self._damage.rest()))
                return self._ready.popleft() if self._ready else None
            times = arrival()
            for frame in self._decode(packet):
                self._ready.extend(_marked(self._followed(Decoded(frame, *times, _stamp_ns(frame)))))
        return self._ready.popleft()

    def picture(self, decoded: Decoded) -> Picture:
        """A frame that was taken, as it is to be looked at: blue-green-red, and upright as its file says.

        Raises:
            DecodeError: FFmpeg cannot convert it.
        """
        try:
            made = self._reformatter.reformat(decoded.frame, format="bgr24", threads=1)
        except av.error.FFmpegError as error:
            raise DecodeError(why(error)) from error
        plane = made.planes[0]
        if plane.line_size < 0:
            # Bottom up, as uncompressed films of Windows are, and of the right format: copied by way of another one.
            plane = made.reformat(format="rgb24").reformat(format="bgr24").planes[0]
        shape, strides = (made.height, made.width, 3), (plane.line_size, 3, 1)
        # A view: it keeps FFmpeg's memory alive for as long as it is used.
        image: NDArray[np.uint8] = np.ndarray(shape, np.uint8, buffer=memoryview(plane), strides=strides)
        turn = _TURNS.get(decoded.frame.rotation % 360)
        if turn is not None:
            image = cv2.rotate(image, turn)  # type: ignore[assignment]  # of uint8 it makes uint8
        return Picture(image, decoded.captured_ns, decoded.captured_at_ns, damaged=decoded.damaged)

    def close(self) -> None:
        """Let go of it. Harmless twice."""
        self._ready.clear()
        self._container.close()

    def _decode(self, packet: Any) -> list[VideoFrame]:
        try:
            try:
                return list(packet.decode())
            except av.error.BlockingIOError:
                # After damage in a row VP9's decoder takes nothing more until it is emptied, key frames included.
                self._damage.lost()
                self._stream.codec_context.flush_buffers()
                return list(packet.decode())
        except av.error.FFmpegError as error:
            self._damage.lost()
            raise DecodeError(why(error)) from error

    def _followed(self, decoded: Decoded) -> list[tuple[Decoded, bool]]:
        frame = decoded.frame
        return self._damage.take(
            decoded,
            corrupt=frame.is_corrupt,
            # Not every camera's intra pictures are key frames.
            intra=frame.key_frame or frame.pict_type == PictureType.I,
            between=frame.pict_type == PictureType.B,
        )

    def _packet(self) -> Any:
        """The next packet; None when no more come. Its type is generic in some versions of PyAV only."""
        try:
            return next(self._packets, None)
        except av.error.ExitError:
            raise ReadFailedError(f"no frame came within {self._read_s:g} s") from None
        except (av.error.InvalidDataError, av.error.BlockingIOError) as error:
            # A hole in the container: reading goes on behind it.
            self._damage.lost()
            self._packets = self._container.demux(self._stream)
            raise DecodeError(why(error)) from error
        except av.error.FFmpegError as error:
            raise ReadFailedError(why(error)) from None


def why(error: av.error.FFmpegError) -> str:
    """FFmpeg's reason as a clause, without the address that the error's own text holds."""
    return f"FFmpeg says: {(error.strerror or type(error).__name__).lower()}"


def _marked(frames: Iterable[tuple[Decoded, bool]]) -> Iterator[Decoded]:
    return (decoded._replace(damaged=True) if damaged else decoded for decoded, damaged in frames)


def _stamp_ns(frame: VideoFrame) -> int:
    if frame.pts is None or frame.time_base is None:
        return 0
    return int(frame.pts * frame.time_base * 10**9)
