# SPDX-License-Identifier: Apache-2.0
"""What a batch costs, learned from the batches that ran."""

from __future__ import annotations

_WEIGHT = 0.2
_FORGET = 0.5


class BatchCost:
    """Time from closing a batch to its results, by batch size: an exponential average."""

    def __init__(self) -> None:
        self._known: dict[int, float] = {}

    def observe(self, count: int, took_ns: int) -> None:
        """Learn from a batch of ``count`` frames that took ``took_ns``."""
        before = self._known.get(count)
        self._known[count] = took_ns if before is None else before + _WEIGHT * (took_ns - before)

    def doubt(self) -> None:
        """Trust what is known half as much: it left nothing to run, and only a batch that runs can correct it.

        Without this one batch that hung (a suspended machine, a stopped process) would make every later frame look too
        late for ever.
        """
        for count in self._known:
            self._known[count] *= _FORGET

    def estimate(self, count: int) -> int:
        """Expected nanoseconds for ``count`` frames; 0 while nothing is known.

        A size that never ran is scaled from the nearest one that did.
        """
        if not self._known:
            return 0
        exact = self._known.get(count)
        if exact is not None:
            return int(exact)
        nearest = min(self._known, key=lambda size: abs(size - count))
        return int(self._known[nearest] * max(1.0, count / nearest))
