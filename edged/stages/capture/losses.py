# SPDX-License-Identifier: Apache-2.0
"""What of a source could not be decoded, or in part only, and what to say of it: enough to mend it, and never a flood.

Images are named: in a lossless run the first few one by one and the others as a number at the end; in a live one a note
every ten seconds at the most. Frames of films and cameras have no names: how many were lost is told once a minute.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from edged.stages.capture.readers.base import DecodeError, shown_name
from edged.stages.capture.redact import redact

Tell = Callable[[str, str], None]
"""Takes a clause for people, and which was the first to be lost of all."""

_FEW = 5
_LIVE_FILES_S = 10.0
_FRAMES_S = 60.0
_GATHER_S = 1.0
"""Damage seldom comes alone: so long the first note waits for what else is lost."""
_MOST_KNOWN = 1000


class _Frames:
    """Gathers frames of a film or a camera that have something in common, to be told of once a minute at the most.

    Args:
        say: takes how many there were, and which was the first.
        clock: monotonic seconds.
    """

    def __init__(self, say: Callable[[int, int], None], clock: Callable[[], float]) -> None:
        self._say = say
        self._clock = clock
        self.pending = self._first = 0
        self._told_at = self._due = -math.inf

    def seen(self, frame_id: int) -> None:
        if not self.pending:
            self._first = frame_id
            self._due = max(self._clock() + _GATHER_S, self._told_at + _FRAMES_S)
        self.pending += 1

    def look(self) -> None:
        if self.pending and self._clock() >= self._due:
            self.flush()

    def flush(self) -> None:
        if self.pending:
            count, self.pending, self._told_at = self.pending, 0, self._clock()
            self._say(count, self._first)


class Losses:
    """Counts what is lost of one source, and what is damaged, over all the times that it is opened.

    Args:
        tell: takes what there is to say; without credentials, on one line.
        live: whether the source is live.
        clock: monotonic seconds.
    """

    def __init__(self, tell: Tell, *, live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._tell = tell
        self._live = live
        self._clock = clock
        self._first = ""
        self._known: set[str] = set()
        self._pending = 0
        self._place = self._reason = self._why_broken = ""
        self._told = 0
        self._told_at = self._due = -math.inf
        self._broken = _Frames(self._say_broken, clock)
        self._damaged = _Frames(self._say_damaged, clock)

    def damaged(self, frame_id: int) -> None:
        """A frame was a picture, but not all of it could be decoded."""
        self._damaged.seen(frame_id)
        self.look()

    def lost(self, frame_id: int, error: DecodeError) -> None:
        """A frame was no picture.

        Args:
            frame_id: its number.
            error: why. An image that was lost before, in a folder that is read again and again, is no news.
        """
        if error.file:
            self._lost_image(error)
        else:
            self._first = self._first or f"frame {frame_id}"
            if not self._broken.pending:
                self._why_broken = error.reason
            self._broken.seen(frame_id)
        self.look()

    def look(self) -> None:
        """Say what is due; to be called with every frame."""
        self._broken.look()
        self._damaged.look()
        if self._pending and self._clock() >= self._due:
            self._say_images()

    def lap(self) -> None:
        """The source begins again: what waits for its end is said."""
        if self._due == math.inf:
            self._say_images()

    def end(self) -> None:
        """No more will come."""
        self._broken.flush()
        self._damaged.flush()
        self._say_images()

    def _lost_image(self, error: DecodeError) -> None:
        if error.file in self._known or len(self._known) >= _MOST_KNOWN:
            return
        self._known.add(error.file)
        place = shown_name(error.file)
        self._first = self._first or place
        if not self._pending:
            self._place, self._reason = place, error.reason
            self._due = self._when()
        self._pending += 1

    def _when(self) -> float:
        """When the first image of several is to be told."""
        now = self._clock()
        if self._live:
            return max(now, self._told_at + _LIVE_FILES_S)
        return now if self._told < _FEW else math.inf

    def _say_images(self) -> None:
        if not self._pending:
            return
        count, many, self._pending = self._pending, self._pending > 1, 0
        if many and self._due == math.inf:
            text = f"and {count} more images could not be decoded"
        else:
            text = _broken(self._place, self._reason) + (f" (and {count - 1} more)" if many else "")
        self._told += 1
        self._told_at, self._due = self._clock(), -math.inf
        self._say(text)

    def _say_broken(self, count: int, first: int) -> None:
        place = f"frame {first}"
        many = f"{count} frames could not be decoded, {place} first: {self._why_broken}"
        self._say(many if count > 1 else _broken(place, self._why_broken))

    def _say_damaged(self, count: int, first: int) -> None:
        which, whose = "one frame is", "its prediction says"
        if count > 1:
            which, whose = f"{count} frames are", "their predictions say"
        self._say(f"{which} damaged, from frame {first} on: parts were lost before they came; {whose} so")

    def _say(self, text: str) -> None:
        self._tell(redact(" ".join(text.split())), redact(self._first))


def _broken(place: str, reason: str) -> str:
    return f"{place} could not be decoded: {reason}"
