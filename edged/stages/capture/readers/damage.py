# SPDX-License-Identifier: Apache-2.0
"""Which frames of a stream are damaged: those that the decoder marks, and those that build on them.

A decoder that misses a part of a frame fills it in with what it has, marks the frame as corrupt and goes on. What
follows is built on the guess, unmarked, up to the next picture that is built on none.
"""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")

_LONGEST = 1500
"""Frames after which damage is taken for mended: streams that refresh their pictures bit by bit never build on none."""
_MOST_HELD = 16
"""Frames between two others, in any codec."""


class DamageTrack(Generic[T]):
    """Follows a stream in the order in which its frames are shown; no I/O.

    Args:
        holds: whether frames that lie between two others (B) are held back until the later of the two is there, on
            which they build. Without it they come at once, and one that builds on damage ahead of it is not known.
    """

    def __init__(self, *, holds: bool) -> None:
        self._holds = holds
        self._damaged = self._between_damaged = False
        self._frames = 0
        self._held: list[T] = []

    def lost(self) -> None:
        """A packet could not be decoded at all: what comes next builds on a frame that is not there."""
        self._damaged, self._frames = True, 0

    def take(self, frame: T, *, corrupt: bool, intra: bool, between: bool) -> list[tuple[T, bool]]:
        """One more frame.

        Args:
            frame: any.
            corrupt: the decoder's mark.
            intra: it builds on no other.
            between: it builds on the frames before and behind it (B), and none but such builds on it.

        Returns:
            The frames whose turn it is now, each with whether it is damaged.
        """
        if between:
            self._between_damaged |= corrupt
            if not self._holds:
                return [(frame, self._damaged or corrupt)]
            self._held.append(frame)
            return self._release(self._damaged) if len(self._held) >= _MOST_HELD else []
        before = self._damaged
        if corrupt:
            self.lost()
        elif intra:
            self._damaged = False
        elif self._damaged:
            self._frames += 1
            self._damaged = self._frames < _LONGEST
        return [*self._release(before or self._damaged), (frame, self._damaged)]

    def rest(self) -> list[tuple[T, bool]]:
        """No more come: what is held back."""
        return self._release(self._damaged)

    def _release(self, damaged: bool) -> list[tuple[T, bool]]:
        damaged = damaged or self._between_damaged
        released = [(frame, damaged) for frame in self._held]
        self._held, self._between_damaged = [], False
        return released
