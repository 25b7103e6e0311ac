# SPDX-License-Identifier: Apache-2.0
"""Which frames to keep of a stream of unknown length, so that every time and every light has its share. Pure.

Class-balancing reservoir sampling (Chrysakis and Moens, "Online Continual Learning from Imbalanced Data", ICML 2020),
with a class for each part of the time and each range of brightness: while there is room all are kept; then a frame of a
class that has fewer than the largest one takes a place from that, and within a largest class every frame has the same
chance. The parts of the time grow with the stream, two becoming one.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from typing import Literal, NamedTuple

PARTS = 32
"""Most parts of the time."""
LEVELS = 8
"""Ranges of brightness."""

Why = Literal["room", "rare", "lot"]
"""There was room; its part of time and brightness had fewer frames than others; it was drawn by lot within its part."""
Cell = tuple[int, int]


class Verdict(NamedTuple):
    """A frame that is to be kept.

    Attributes:
        why: it is kept.
        instead_of: whose place it takes; None where there was room.
    """

    why: Why
    instead_of: Hashable | None


class Balance:
    """Decides for each frame that comes; knows times and brightness only, never a picture.

    Args:
        capacity: most frames that are kept.
        width: of a part of the time at the beginning, in the unit of the times offered.
        seed: the same frames and the same seed make the same choice.
    """

    def __init__(self, capacity: int, width: float, seed: int = 0) -> None:
        self._capacity = capacity
        self._width = width
        self._random = random.Random(seed)
        self._members: dict[Hashable, tuple[float, float]] = {}
        self._seen: Counter[Cell] = Counter()

    def __len__(self) -> int:
        return len(self._members)

    def offer(self, name: Hashable, time: float, brightness: float) -> Verdict | None:
        """Decide on a frame.

        Args:
            name: not offered before.
            time: since the beginning, 0 or more; never less than the one before.
            brightness: 0 to 255.

        Returns:
            How it is kept; None where it is not.
        """
        while time >= PARTS * self._width:
            self._double()
        cell = self._cell(time, brightness)
        self._seen[cell] += 1
        if len(self._members) < self._capacity:
            self._members[name] = (time, brightness)
            return Verdict("room", None)
        cells: dict[Cell, list[Hashable]] = {}
        for member, (at, light) in self._members.items():
            cells.setdefault(self._cell(at, light), []).append(member)
        # The first of several largest ones would always be the oldest.
        most = max(map(len, cells.values()))
        own = cells.get(cell, [])
        why: Why = "lot"
        if len(own) < most:
            own = self._random.choice([members for members in cells.values() if len(members) == most])
            why = "rare"
        elif self._random.random() >= len(own) / self._seen[cell]:
            return None
        loser = self._random.choice(own)
        del self._members[loser]
        self._members[name] = (time, brightness)
        return Verdict(why, loser)

    def restore(self, name: Hashable, time: float, brightness: float) -> None:
        """Take a frame in that was kept before."""
        while time >= PARTS * self._width:
            self._double()
        self._members[name] = (time, brightness)
        self._seen[self._cell(time, brightness)] += 1

    def _cell(self, time: float, brightness: float) -> Cell:
        return int(time / self._width), min(LEVELS - 1, int(brightness * LEVELS / 256))

    def _double(self) -> None:
        self._width *= 2
        joined: Counter[Cell] = Counter()
        for (part, level), count in self._seen.items():
            joined[part // 2, level] += count
        self._seen = joined
