# SPDX-License-Identifier: Apache-2.0
"""Which engine is wanted: when to look at the store again, and what not to try again."""

from __future__ import annotations

import time

from edged.runtime.setup import Setup
from edged.runtime.swap_crew import store_mark

_LOOK_S = 0.5


class Wish:
    """What is wanted of the store.

    Args:
        setup: of the daemon.
        mark: how the store stood before the engine that runs was chosen, see `edged.runtime.swap_crew.store_mark`.

    Attributes:
        key: of the engine that is wanted whatever the settings ask for; None for what they ask for.
        refused: keys of engines that are not tried again before somebody asks.
        look_at: when to look next (monotonic seconds).
    """

    def __init__(self, setup: Setup, mark: tuple[int, ...]) -> None:
        self._setup = setup
        self._mark = mark
        self._again = False
        self.key: str | None = None
        self.refused: set[str] = set()
        self.look_at = 0.0

    def ask(self) -> None:
        """Look at the store now, also at engines that were refused before."""
        self._again = self._again or bool(self.refused)
        self.refused.clear()
        self.look_at = 0.0

    def use(self, key: str | None) -> None:
        """Another one is wanted; None for the one that the settings ask for."""
        if key != self.key:
            self.key, self._again = key, True
            self.look_at = 0.0

    def again_in(self, seconds: float) -> None:
        """Look at the store again, after a while."""
        self._again, self.look_at = True, time.monotonic() + seconds

    def due(self, now: float) -> bool:
        """Whether it is time to look; if so, it is next time in half a second."""
        if now < self.look_at:
            return False
        self.look_at = now + _LOOK_S
        return True

    def take(self) -> bool:
        """Whether another engine may be wanted since the last call that said so."""
        mark = store_mark(self._setup)
        if mark == self._mark and not self._again:
            return False
        self._mark, self._again = mark, False
        return True
