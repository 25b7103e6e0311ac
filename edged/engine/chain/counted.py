# SPDX-License-Identifier: Apache-2.0
"""Progress of work on images, as steps of the build."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

from numpy.typing import NDArray

from edged.engine.batches import Batches
from edged.engine.images import Tell as TellImages
from edged.engine.protocol import Step, Tell

_EVERY_S = 0.1


class Counted(Batches[NDArray[Any]]):
    """Batches that tell how often one of them was taken.

    Args:
        batches: the batches.
        count: told after each.
    """

    def __init__(self, batches: Sequence[NDArray[Any]], count: Count) -> None:
        self._batches = batches
        self._count = count

    def __len__(self) -> int:
        return len(self._batches)

    def one(self, index: int) -> NDArray[Any]:
        """A batch, which counts."""
        found = self._batches[index]
        self._count.add()
        return found


class Count:
    """Counts up to a total, and tells now and then.

    Args:
        tell: takes the steps.
        task: what it is called.
        total: how many there will be.
    """

    def __init__(self, tell: Tell, task: str, total: int) -> None:
        self._tell, self._task, self._total = tell, task, total
        self._done = 0
        self._told = 0.0

    def add(self) -> None:
        """One more is done."""
        self.at(self._done + 1, self._total)

    def at(self, done: int, total: int) -> None:
        """So many of so many are done."""
        self._done = done
        now = time.monotonic()
        if now - self._told >= _EVERY_S:
            self._told = now
            self._tell(Step(self._task, min(done, total), max(total, 1)))


@contextlib.contextmanager
def counting(tell: Tell, task: str, total: int = 0) -> Iterator[Count]:
    """A count for the time of some work."""
    try:
        yield Count(tell, task, total)
    finally:
        tell(Step(task, 0, 0))


def images(tell: Tell, task: str) -> TellImages:
    """What evaluation and the look at folders tell, as steps; the task ends with the last image."""
    count = Count(tell, task, 0)

    def at(done: int, total: int) -> None:
        count.at(done, total)
        if done >= total:
            tell(Step(task, 0, 0))

    return at
