# SPDX-License-Identifier: Apache-2.0
"""Rates for ``edged top``, from statistics that only add up."""

from __future__ import annotations

from typing import NamedTuple

from edged.messages import Stats
from edged.messages_stats import StageTime


class StageRate(NamedTuple):
    """How a stage did lately: runs a second, and milliseconds a run (None where it did not run)."""

    hz: float
    ms: float | None


class Figures:
    """The difference of the last two statistics of one daemon; with only one, its whole life."""

    def __init__(self) -> None:
        self._before: Stats | None = None
        self._now: Stats | None = None

    def take(self, stats: Stats) -> None:
        """Take in the next statistics."""
        same = self._now is not None and self._now.boot == stats.boot and self._now.uptime_s < stats.uptime_s
        self._before = self._now if same else None
        self._now = stats

    @property
    def span_s(self) -> float:
        """Over how long the figures are, seconds."""
        if self._now is None:
            return 0.0
        return self._now.uptime_s - (self._before.uptime_s if self._before else 0.0)

    def cpu(self, process: str) -> float | None:
        """Cores that a process kept busy; None where it is unknown."""
        if self._now is None or self.span_s <= 0 or process not in self._now.processes:
            return None
        now = self._now.processes[process].cpu_s
        before = self._before.processes.get(process) if self._before else None
        # A process that was replaced counts from 0 again.
        spent = now - before.cpu_s if before is not None and before.cpu_s <= now else now
        return spent / self.span_s

    def stage(self, process: str, stage: str) -> StageRate | None:
        """How a stage did; None where it is unknown."""
        if self._now is None or self.span_s <= 0:
            return None
        now = _time(self._now, process, stage)
        before = (_time(self._before, process, stage) if self._before else None) or StageTime()
        if now is None or now.count < before.count:
            return None
        runs = now.count - before.count
        return StageRate(runs / self.span_s, (now.wall_s - before.wall_s) / runs * 1000 if runs else None)


def _time(stats: Stats, process: str, stage: str) -> StageTime | None:
    found = stats.processes.get(process)
    return None if found is None else found.stages.get(stage)
