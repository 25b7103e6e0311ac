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


class _Damage:
    """Frames that are damaged: told of like those of films and cameras that are lost."""

    def __init__(self, tell: Tell, clock: Callable[[], float]) -> None:
        self._tell = tell
        self._clock = clock
        self._pending = self._first = 0
        self._told_at = self._due = -math.inf

    def seen(self, frame_id: int) -> None:
        if not self._pending:
            self._first = frame_id
            self._due = max(self._clock() + _GATHER_S, self._told_at + _FRAMES_S)
        self._pending += 1

    def look(self) -> None:
        if self._pending and self._clock() >= self._due:
            self.say()

    def say(self) -> None:
        if not self._pending:
            return
        count, self._pending, self._told_at = self._pending, 0, self._clock()
        which = f"{count} frames are" if count > 1 else "one frame is"
        whose = "their predictions say" if count > 1 else "its prediction says"
        self._tell(f"{which} damaged, from frame {self._first} on: parts were lost before they came; {whose} so", "")


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
        self._place = self._reason = ""
        self._named = False
        self._told = 0
        self._told_at = self._due = -math.inf
        self._damage = _Damage(tell, clock)

    def damaged(self, frame_id: int) -> None:
        """A frame was a picture, but not all of it could be decoded."""
        self._damage.seen(frame_id)

    def lost(self, frame_id: int, error: DecodeError) -> None:
        """A frame was no picture.

        Args:
            frame_id: its number.
            error: why. An image that was lost before, in a folder that is read again and again, is no news.
        """
        if error.file:
            if error.file in self._known or len(self._known) >= _MOST_KNOWN:
                return
            self._known.add(error.file)
        place = shown_name(error.file) if error.file else f"frame {frame_id}"
        self._first = self._first or place
        if not self._pending:
            self._place, self._reason, self._named = place, error.reason, bool(error.file)
            self._due = self._when()
        self._pending += 1
        self.look()

    def look(self) -> None:
        """Say what is due; to be called with every frame."""
        self._damage.look()
        if self._pending and self._clock() >= self._due:
            self._say()

    def lap(self) -> None:
        """The source begins again: what waits for its end is said."""
        if self._due == math.inf:
            self._say_all()

    def end(self) -> None:
        """No more will come."""
        self._damage.say()
        self._say_all()

    def _when(self) -> float:
        """When the first loss of several is to be told."""
        now = self._clock()
        if not self._named:
            return max(now + _GATHER_S, self._told_at + _FRAMES_S)
        if self._live:
            return max(now, self._told_at + _LIVE_FILES_S)
        return now if self._told < _FEW else math.inf

    def _say_all(self) -> None:
        if self._pending:
            self._say()

    def _say(self) -> None:
        count, many, self._pending = self._pending, self._pending > 1, 0
        if many and self._named and self._due == math.inf:
            text = f"and {count} more images could not be decoded"
        elif many and not self._named:
            text = f"{count} frames could not be decoded, {self._place} first: {self._reason}"
        else:
            text = f"{self._place} could not be decoded: {self._reason}" + (f" (and {count - 1} more)" if many else "")
        self._told += 1
        self._told_at, self._due = self._clock(), -math.inf
        self._tell(redact(" ".join(text.split())), redact(self._first))
