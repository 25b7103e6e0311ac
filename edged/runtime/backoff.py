# SPDX-License-Identifier: Apache-2.0
"""When to start again what has died. Pure: time is passed in."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

SOON_S = 10.0
_FIRST_S = 0.5
_LONGEST_S = 30.0
_WINDOW_S = 60.0


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
