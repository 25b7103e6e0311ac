# SPDX-License-Identifier: Apache-2.0
"""The governor with what it remembers: the sources' rates, the ladder made of them, and the step it stands on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edged.messages_thermal import Governing
from edged.monitor.governor.govern import govern
from edged.monitor.governor.loads import CONFIGURED, Load, SmallerEngine, SourceLoad, ladder
from edged.monitor.governor.state import Bands, Decision, Heat, Mode, State

_SETTLED = 5
"""Looks at a source's rate before it counts: a camera that has just opened delivers bursts."""


class SourceRate(NamedTuple):
    """A source now.

    Attributes:
        name: of the source.
        rate_hz: frames captured a second, over the last seconds; 0 for one that delivers nothing.
        priority: higher is more important.
    """

    name: str
    rate_hz: float
    priority: int


class Governed:
    """Takes readings, gives decisions.

    Args:
        mode: of the governor.
        p99_bound_ms: latency that is to be kept; None for none.
    """

    def __init__(self, mode: Mode, p99_bound_ms: float | None = None) -> None:
        self.mode = mode
        self.engines: Sequence[SmallerEngine] = ()
        self._bands = Bands(p99_bound_ms=p99_bound_ms)
        self._state = State()
        self._rates: dict[str, float] = {}
        self._looks: dict[str, int] = {}
        self._steps: tuple[Load, ...] = (CONFIGURED,)

    @property
    def load(self) -> Load:
        """What is to be done now; the configured load unless the mode is ``act``."""
        return self._steps[self._level] if self.mode == "act" else CONFIGURED

    @property
    def message(self) -> Governing:
        """For ``v1/thermal/``."""
        load = self._steps[self._level]
        doing = "" if self.mode == "off" else load.text
        return Governing(
            mode=self.mode, level=self._level, lowest=len(self._steps) - 1, share=round(load.share, 4), doing=doing
        )

    def bound(self, p99_ms: float | None) -> None:
        """Keep this latency from now on."""
        self._bands = Bands(p99_bound_ms=p99_ms)

    def look(self, heat: Heat, sources: Sequence[SourceRate]) -> Decision | None:
        """Take in a reading; what to do or tell, if anything."""
        if self.mode == "off":
            return None
        self._steps = ladder(self._configured(sources), self.engines)
        if len(self._steps) < 2:
            return None  # nothing is known to come: there is nothing to lower either
        self._state, decision = govern(self._state, heat, self._steps, self._bands, self.mode)
        return decision

    @property
    def caps(self) -> dict[str, float]:
        """Highest rate of each source, frames a second; those that are not capped are left out.

        The interval caps every source too: frames beyond it are not even counted, so that none is lost.
        """
        load = self.load
        capped = {name: load.caps.get(name, rate) / load.interval for name, rate in self._rates.items()}
        return {name: hz for name, hz in capped.items() if 0 < hz < 0.999 * self._rates[name]}

    @property
    def _level(self) -> int:
        return min(self._state.level, len(self._steps) - 1)

    def _configured(self, sources: Sequence[SourceRate]) -> list[SourceLoad]:
        """The sources at the configured load: what they deliver is known only while nothing is lowered.

        Then one that pauses keeps its place: the steps must not change under the governor's feet.
        """
        rates: dict[str, float] = {}
        self._looks = {it.name: self._looks.get(it.name, 0) + 1 if it.rate_hz > 0 else 0 for it in sources}
        for source in sources:
            measured = source.rate_hz if self._looks[source.name] >= _SETTLED else 0.0
            rates[source.name] = self._rates.get(source.name, 0.0) if self._state.level else measured
            rates[source.name] = rates[source.name] or measured
        self._rates = rates
        return [SourceLoad(source.name, rates[source.name], source.priority) for source in sources]
