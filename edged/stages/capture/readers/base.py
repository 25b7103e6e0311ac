# SPDX-License-Identifier: Apache-2.0
"""What every reader offers, and the ways a read can fail. Imports nothing heavy: see `quiet_environment`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

from edged.stages.capture.redact import redact

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_QUIET = {
    # Both write to stderr for every damaged packet and every source that does not open, with the URL as it is. What
    # matters of it comes back as a return value or an exception. -8 is FFmpeg's AV_LOG_QUIET.
    "OPENCV_LOG_LEVEL": "FATAL",
    "OPENCV_FFMPEG_LOGLEVEL": "-8",
}
_LONGEST_NAME = 120

SANE_FPS = (1.0, 1000.0)
"""Nominal rates that are believed, frames per second."""


class DecodeError(Exception):
    """This one frame is broken: count it and go on.

    Args:
        reason: why, as a clause.
        file: name of the image, for folder sources; always valid UTF-8.
    """

    def __init__(self, reason: str = "", *, file: str = "") -> None:
        super().__init__(f"{file}: {reason}" if file else reason)
        self.reason = reason
        self.file = file


class ReadFailedError(Exception):
    """The source failed: close the reader, perhaps open another.

    Args:
        reason: why, as a clause for people; credentials are taken out.
        permanent: whether another try is useless until somebody changes something.
        refused: whether other credentials are wanted: another try may do harm, for cameras lock out who tries often.
        gone: whether a file or folder is not there (any more). It may come back, as drives do; whether to wait for
            that is for others to know.
    """

    def __init__(self, reason: str, *, permanent: bool = False, refused: bool = False, gone: bool = False) -> None:
        super().__init__(redact(reason))
        self.permanent = permanent
        self.refused = refused
        self.gone = gone


class Patience(NamedTuple):
    """How long a reader waits before it gives up by itself, seconds; the supervisor may end it earlier.

    Attributes:
        open: for the source to open.
        read: for a frame.
        step: called before each step of opening that may take so long.
    """

    open: float = 5.0
    read: float = 10.0
    step: Callable[[], None] = lambda: None


PATIENT = Patience()
"""As long as is usual."""


@dataclass(slots=True)
class Picture:
    """One frame as it came from its source.

    Attributes:
        image: uint8 height×width×3, blue-green-red; the reader's own buffer, good until the next ``read``.
        captured_ns: CLOCK_MONOTONIC at arrival, nanoseconds.
        captured_at_ns: Unix time at arrival, nanoseconds.
        file: name of the image, for folder sources; always valid UTF-8.
        source_size: height, width of the source's picture where a device has cut out of it what the model sees, and
            scaled that, so that ``image`` is the placement's crop; None where ``image`` is the source's picture.
        overtaken: frames that were passed over since the last picture, because newer ones were there already.
        damaged: whether the decoder had to make up for parts that were lost, in this frame or in one that it builds on.
    """

    image: NDArray[np.uint8]
    captured_ns: int
    captured_at_ns: int
    file: str = ""
    source_size: tuple[int, int] | None = None
    overtaken: int = 0
    damaged: bool = False


class Reader(Protocol):
    """An open source. One thread uses it; ``close`` may be called twice."""

    @property
    def fps(self) -> float | None:
        """Nominal rate, frames per second; None where the source does not say."""

    @property
    def decode(self) -> str:
        """``software`` or ``hardware``; empty where it cannot be known."""

    def read(self) -> Picture | None:
        """Take the next frame, waiting for it if need be.

        Returns:
            The frame; None at the end of the source.

        Raises:
            DecodeError: a frame came but is no picture.
            ReadFailedError: the source failed.
        """

    def rewind(self) -> None:
        """Start again with the first frame.

        Raises:
            ReadFailedError: the source cannot be read a second time.
        """

    def close(self) -> None:
        """Let go of the source."""


def notes_of(reader: Reader) -> list[str]:
    """What people should know of an open source that works all the same: clauses, without credentials.

    For example, that a camera does not give the picture size it was asked for. Readers that never have anything to say
    have no ``notes``.
    """
    return [redact(note) for note in getattr(reader, "notes", ())]


def ending_of(reader: Reader) -> str:
    """What people should know of how a source ended, a clause; empty where there is nothing, as mostly."""
    return redact(getattr(reader, "ending", ""))


def shown_name(name: str) -> str:
    """A file's name for people: on one line, and not without end."""
    shown = name if name.isprintable() else ascii(name)[1:-1]
    return shown if len(shown) <= _LONGEST_NAME else f"{shown[:_LONGEST_NAME]}…"


def pass_over(reader: Reader, count: int) -> int:
    """Pass over so many frames without decoding them, where a reader can; returns how many are left to be read."""
    skip: Callable[[int], None] | None = getattr(reader, "skip", None)
    if skip is None:
        return count
    skip(count)
    return 0


def arrival() -> tuple[int, int]:
    """Now, as CLOCK_MONOTONIC and as Unix time, nanoseconds."""
    return time.monotonic_ns(), time.time_ns()


def quiet_environment() -> dict[str, str]:
    """Environment that keeps OpenCV and FFmpeg from writing to stderr.

    Both read it when they are loaded, so it must be set before ``cv2`` is imported, or given to a child process.

    Returns:
        The variables that are not set already: who sets one of them to find a fault gets what they asked for.
    """
    return {name: value for name, value in _QUIET.items() if name not in os.environ}
