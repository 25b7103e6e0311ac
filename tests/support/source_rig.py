# SPDX-License-Identifier: Apache-2.0
"""The state machine of a source without a source: its clock is turned by hand, and what it tells is checked."""

from __future__ import annotations

from collections.abc import Iterable

from edged.messages import SourceState
from edged.runtime.source_machine import Deadlines, Order, SourceMachine
from edged.stages.capture.progress import Phase, Standing

TICK_S = 0.2
LIMITS = Deadlines()
ALLOWED: dict[SourceState, set[SourceState]] = {
    "opening": {"live", "backoff", "ended", "failed", "stalled"},
    "live": {"stalled", "backoff", "ended", "failed"},
    "stalled": {"live", "backoff", "ended", "failed", "stalled"},
    "backoff": {"live", "backoff", "ended", "failed", "stalled"},
    "ended": set(),
    "failed": set(),
}


class Source:
    """A machine, what it has told, and a clock that is turned by hand."""

    def __init__(self, deadlines: Deadlines = LIMITS, *, killable: bool = True, begun: bool = True) -> None:
        self.told: list[tuple[SourceState, str]] = []
        self.machine = SourceMachine(deadlines, self._changed, killable=killable, chance=lambda: 0.0)
        self.now = 1000.0
        self.standing = Standing()
        self.orders: list[tuple[float, Order]] = []
        if begun:
            self.machine.begun(self.now)

    def _changed(self, state: SourceState, reason: str) -> None:
        before = self.told[-1] if self.told else ("opening", "")
        assert (state, reason) != before
        assert state in ALLOWED[before[0]] or before[0] == state, (before, state)
        assert bool(reason) == (state in ("stalled", "backoff", "failed")), (state, reason)
        self.told.append((state, reason))

    def phase(self, phase: Phase) -> None:
        self.standing = self.standing._replace(phase=phase, since_s=self.now)

    def frame(self, interval_s: float | None = None) -> None:
        interval_s = self.standing.interval_s if interval_s is None else interval_s
        self.standing = Standing(Phase.EXPECTING, self.now, self.standing.frames + 1, interval_s)

    def run(self, seconds: float) -> None:
        """Let time pass, looking as the supervisor does."""
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + TICK_S)
            order = self.machine.look(self.now, self.standing)
            if order is not Order.NOTHING:
                self.orders.append((self.now, order))

    def play(self, gaps: Iterable[float], interval_s: float) -> None:
        """Frames with these gaps between them."""
        for gap in gaps:
            self.run(gap)
            self.frame(interval_s)
        self.run(0.001)

    @property
    def state(self) -> SourceState:
        return self.machine.state
