# SPDX-License-Identifier: Apache-2.0
"""Network cameras over RTSP, through FFmpeg."""

from __future__ import annotations

import os
import socket
import time
from urllib.parse import urlsplit

import cv2

from edged.stages.capture.readers.base import Picture, ReadFailedError
from edged.stages.capture.readers.opencv import Grabber

OPEN_TIMEOUT_S = 5.0
READ_TIMEOUT_S = 5.0
_PROBE_TIMEOUT_S = 1.0
_PORTS = {"rtsp": 554, "rtsps": 322}
# TCP: which transport is the default has changed between versions of OpenCV, and UDP loses packets without telling.
# No frames to probe the rate: else FFmpeg waits for 21 of them (4 s of a camera at 5 frames per second) and then gives
# them out at once, old as they are, with no way to tell. Not fflags;nobuffer, which loses the first key frame.
_FFMPEG_OPTIONS = "rtsp_transport;tcp|fpsprobesize;0"


class RtspReader:
    """A network camera, over TCP.

    OpenCV takes FFmpeg's options only from the environment, so opening one sets ``OPENCV_FFMPEG_CAPTURE_OPTIONS`` for
    the process, unless the user did. Other sources hardly notice (videos opened later are not probed for their rate).

    One decoder thread: with more, FFmpeg holds back as many frames as it has threads, and they would be old.

    Args:
        url: with its credentials.
        open_timeout_s: how long connecting may take, seconds; OpenCV's own default is 30.
        read_timeout_s: how long a frame may take, seconds.

    Raises:
        ReadFailedError: it cannot be opened.
    """

    decode = "software"

    def __init__(
        self, url: str, *, open_timeout_s: float = OPEN_TIMEOUT_S, read_timeout_s: float = READ_TIMEOUT_S
    ) -> None:
        self._read_timeout_s = read_timeout_s
        parameters = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            int(open_timeout_s * 1000),
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            int(read_timeout_s * 1000),
        ]
        if hasattr(cv2, "CAP_PROP_N_THREADS"):
            parameters += [cv2.CAP_PROP_N_THREADS, 1]
        os.environ.setdefault("OPENCV_FFMPEG_CAPTURE_OPTIONS", _FFMPEG_OPTIONS)
        begin = time.monotonic()
        try:
            self._grabber = Grabber(url, cv2.CAP_FFMPEG, parameters)
        except ReadFailedError as error:
            raise ReadFailedError(_open_reason(url, time.monotonic() - begin, open_timeout_s)) from error

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the camera does not say."""
        return self._grabber.fps

    def read(self) -> Picture | None:
        """Take the next frame; a camera has no end.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the camera ended the stream, or nothing came in time.
        """
        begin = time.monotonic()
        picture = self._grabber.take()
        if picture is None:
            if time.monotonic() - begin >= 0.9 * self._read_timeout_s:
                raise ReadFailedError(f"no frame came within {self._read_timeout_s:g} s")
            raise ReadFailedError("the camera ended the stream")
        return picture

    def rewind(self) -> None:
        """Cameras do not go back."""
        raise ReadFailedError("a camera cannot start again", permanent=True)

    def close(self) -> None:
        """Leave the camera."""
        self._grabber.close()


def _open_reason(url: str, took_s: float, timeout_s: float) -> str:
    """Why a camera could not be opened. OpenCV only says that it couldn't, so ask its port."""
    parts = urlsplit(url)
    if "@" in url.partition(parts.netloc)[2]:
        # Perhaps of a password that was not percent-encoded: then what looks like the host is a part of it.
        return "cannot be opened: if the password holds / ? or @, write these percent-encoded"
    host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme.lower(), 554)
    if took_s >= 0.9 * timeout_s:
        return f"{host}:{port} does not answer within {timeout_s:g} s"
    try:
        socket.create_connection((host, port), timeout=_PROBE_TIMEOUT_S).close()
    except socket.gaierror:
        return f"the host name {host} is not known"
    except OSError as error:
        return f"cannot connect to {host}:{port}: {(error.strerror or str(error)).lower()}"
    return f"{host}:{port} answers, but gives no stream: check path, user and password"
