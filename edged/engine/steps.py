# SPDX-License-Identifier: Apache-2.0
"""The builder's own progress, passed on as events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from edged.engine.protocol import Step, Tell

_EVERY_S = 0.05


class Steps:
    """Takes TensorRT's progress, from whichever thread, and passes on at most 20 steps a second of each task.

    Args:
        tell: takes the events.
        clock: seconds.
    """

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        self.cancelled = False
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._tasks: dict[str, tuple[str, int]] = {}
        self._told: dict[str, float] = {}

    def start(self, phase: str, parent: str | None, steps: int) -> None:
        """A task of so many steps begins."""
        with self._lock:
            self._tasks[phase] = (parent or "", steps)
            self._tell(Step(phase, 0, steps, parent or ""))

    def step(self, phase: str, number: int) -> bool:
        """A step, counted from 0, is done. A build is ended by ending its process, so this never asks for it."""
        with self._lock:
            now = self._clock()
            if phase in self._tasks and now - self._told.get(phase, -_EVERY_S) >= _EVERY_S:
                self._told[phase] = now
                parent, steps = self._tasks[phase]
                self._tell(Step(phase, number + 1, steps, parent))
        return True

    def finish(self, phase: str) -> None:
        """A task is over."""
        with self._lock:
            self._told.pop(phase, None)
            parent, steps = self._tasks.pop(phase, ("", 0))
            self._tell(Step(phase, steps, 0, parent))
