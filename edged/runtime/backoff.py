# SPDX-License-Identifier: Apache-2.0
"""When to start again what has died. Pure: time is passed in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

SOON_S = 10.0
_FIRST_S = 0.5
_LONGEST_S = 30.0
_WINDOW_S = 60.0
_RAN_WELL_S = 2.0
_JITTER = 0.25


@dataclass(slots=True)
class Backoff:
    """The first restart is immediate; one that follows within 10 s waits, each time twice as long, 30 s at the most."""

    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=64))
    _streak: int = 0

    def died(self, now_s: float) -> float:
        """Note a death; returns how many seconds to wait before the restart."""
        soon = bool(self.deaths) and now_s - self.deaths[-1] < SOON_S + self._delay()
        self._streak = self._streak + 1 if soon else 0
        self.deaths.append(now_s)
        return self._delay()

    def _delay(self) -> float:
        return 0.0 if self._streak == 0 else min(_LONGEST_S, _FIRST_S * 2.0 ** (self._streak - 1))

    def recent(self, now_s: float) -> int:
        """Deaths within the last minute."""
        return sum(1 for at in self.deaths if now_s - at <= _WINDOW_S)


@dataclass(slots=True)
class Retry:
    """When to try a source again that has failed: at once after it ran well, then ever later, never not at all.

    Each wait is twice as long as the one before, and up to a quarter shorter than that by chance, so that sources that
    went together do not all come back at the same moment.

    Attributes:
        longest_s: no wait is longer.
        chance: a number from 0 to 1.
        first_s: the first wait that is one.
        at_once: whether the first try comes without a wait.
    """

    longest_s: float
    chance: Callable[[], float]
    first_s: float = 0.25
    at_once: bool = True
    _streak: int = -1

    def after(self, ran_s: float) -> float:
        """Note a failure; returns how many seconds to wait before the next try.

        Args:
            ran_s: how long frames came before it, seconds.
        """
        self._streak = 0 if ran_s >= _RAN_WELL_S else self._streak + 1
        doublings = self._streak - 1 if self.at_once else self._streak
        if doublings < 0:
            return 0.0
        wait_s = min(self.longest_s, self.first_s * 2.0 ** min(doublings, 60))
        return wait_s * (1.0 - _JITTER * self.chance())
