# SPDX-License-Identifier: Apache-2.0
"""What readers over ``cv2.VideoCapture`` share: taking a frame, and turning it into a picture."""

from __future__ import annotations

from typing import Any, NamedTuple, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.stages.capture.readers.base import SANE_FPS, DecodeError, Picture, ReadFailedError, arrival

_TO_BGR = {1: cv2.COLOR_GRAY2BGR, 4: cv2.COLOR_BGRA2BGR}


class Grabbed(NamedTuple):
    """When a frame came: CLOCK_MONOTONIC and Unix time, nanoseconds; taken before it is unpacked."""

    captured_ns: int
    captured_at_ns: int


class Grabber:
    """Takes frames from one ``cv2.VideoCapture``, decoding into the same memory as long as their size stays.

    Args:
        target: what OpenCV opens.
        backend: the OpenCV backend, by number; else OpenCV tries whatever it has.

    Raises:
        ReadFailedError: OpenCV cannot open it; OpenCV does not say why.
    """

    def __init__(self, target: str, backend: int) -> None:
        try:
            self._capture = cv2.VideoCapture(target, backend)
        except cv2.error as error:
            raise ReadFailedError(f"OpenCV cannot open it: {error.err}") from error
        if not self._capture.isOpened():
            raise ReadFailedError("cannot be opened")
        self._buffer: NDArray[Any] | None = None

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where it is missing or absurd."""
        fps = self._capture.get(cv2.CAP_PROP_FPS)
        low, high = SANE_FPS
        return fps if low <= fps <= high else None

    def answer(self, setting: int) -> float:
        """What a capture setting is; 0 or below where it is not known."""
        return float(self._capture.get(setting))

    def ask(self, setting: int, value: float) -> None:
        """Ask for a capture setting; a driver that does not know it goes on without."""
        self._capture.set(setting, value)

    def take(self) -> Picture | None:
        """The next frame; None when no more come.

        Raises:
            DecodeError: one came, but it is no picture.
        """
        grabbed = self.grab()
        return None if grabbed is None else self.decode(grabbed)

    def grab(self) -> Grabbed | None:
        """Wait for the next frame, which becomes the one that `decode` unpacks; None when no more come.

        Raises:
            DecodeError: one came, but it is no picture.
        """
        try:
            return Grabbed(*arrival()) if self._capture.grab() else None
        except cv2.error as error:
            raise DecodeError(error.err) from error

    def decode(self, grabbed: Grabbed) -> Picture:
        """The frame that was grabbed last.

        Raises:
            DecodeError: it is no picture.
        """
        try:
            # In place: a fresh array for each frame costs more page faults than the decoding of a small one.
            good, image = self._capture.retrieve(self._buffer)
        except cv2.error as error:
            raise DecodeError(error.err) from error
        if not good or image is None:
            raise DecodeError("the frame holds no picture")
        self._buffer = image
        return Picture(to_bgr(image), grabbed.captured_ns, grabbed.captured_at_ns)

    @property
    def stream_ns(self) -> int:
        """Timestamp of the frame that was grabbed last, nanoseconds; 0 where it has none."""
        return int(self._capture.get(cv2.CAP_PROP_POS_MSEC) * 1e6)

    def close(self) -> None:
        """Let go of the source."""
        self._capture.release()


def to_bgr(image: NDArray[Any]) -> NDArray[np.uint8]:
    """Turn what OpenCV decoded into uint8 height×width×3, blue-green-red; without a copy where it is that already.

    Args:
        image: uint8 or uint16, height×width or height×width×(1, 3 or 4).

    Raises:
        DecodeError: anything else.
    """
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    channels = 1 if image.ndim == 2 else image.shape[2] if image.ndim == 3 else 0
    if image.dtype != np.uint8 or image.size == 0 or channels not in (1, 3, 4):
        raise DecodeError(f"{image.dtype} of shape {image.shape} is no picture that edged knows")
    if channels != 3:
        image = cv2.cvtColor(image, _TO_BGR[channels])
    return cast("NDArray[np.uint8]", image)
