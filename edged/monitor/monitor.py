# SPDX-License-Identifier: Apache-2.0
"""Everything that one look at the machine and at the work leads to: throttling, causes, the ledger, the governor.

No sensor, clock or socket is touched here; the ledger's lines go to disk by a thread of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from edged.monitor.causes import Finding
from edged.monitor.causes_events import Hysteresis, Throttle, ThrottleEvent, Throttles, advance
from edged.monitor.causes_evidence import Level
from edged.monitor.governed import Governed, SourceRate
from edged.monitor.governor.state import Decision
from edged.monitor.heat import causes_of, gauges, heat_of, held_back
from edged.monitor.ledger.behind import Behind
from edged.monitor.ledger.ledger import Ledger
from edged.monitor.ledger.sample import NO_LATENCIES, Latencies, Sample
from edged.monitor.past import Past
from edged.monitor.readings import Cause, Reading, Throughput

_WARM_S = 10.0
"""The ledger begins with the first frames, or after so long without any."""
_FELL_S, _BACK_S = 10.0, 30.0
"""A fall of throughput is told after so long, and so is its end."""


class Look(NamedTuple):
    """One look.

    Attributes:
        at_s: monotonic seconds.
        wall_s: Unix seconds.
        reading: the newest; None where nothing is known.
        latency: of what was published since the look before, and how much that was.
        offered_hz: frames captured a second; None where that depends on how fast they are taken.
        idle: share of the time in which the infer loop had nothing to do; None where unknown.
        p99_ms: see `edged.monitor.governor.state.Heat`.
        sources: with their rates.
    """

    at_s: float
    wall_s: float
    reading: Reading | None = None
    latency: Latencies = NO_LATENCIES
    offered_hz: float | None = None
    idle: float | None = None
    p99_ms: float | None = None
    sources: Sequence[SourceRate] = ()


class Happened(NamedTuple):
    """Something to tell once, as an event."""

    kind: str
    severity: str
    text: str
    data: Mapping[str, int | float | str | bool]


class Monitor:
    """Remembers what there is to remember between looks.

    Args:
        folder: of the ledger; None keeps nothing over a restart.
        subject: what is being done, see `edged.monitor.ledger.ledger.Ledger`.
        interval_s: between two looks, seconds.
        governed: the governor.

    Attributes:
        finding: why throughput is lower than it was; None where it is not.
        reading: the newest; None where nothing is known.
    """

    def __init__(self, folder: Path | None, subject: str, interval_s: float, governed: Governed) -> None:
        self._folder = folder
        self._subject = subject
        self._behind = Behind()
        self.ledger = Ledger(folder, subject, append=self._behind)
        self.governed = governed
        self._throttles = Throttles()
        self.pace(interval_s)
        self._last_s: float | None = None
        self._started_s = 0.0
        self._begun = False
        self.reading: Reading | None = None
        self.finding: Finding | None = None
        self._turned_s: float | None = None
        self._told = False

    @property
    def throttles(self) -> tuple[Throttle, ...]:
        """What holds the device back now."""
        return self._throttles.ongoing

    def pace(self, interval_s: float) -> None:
        """Look so often from now on; throughput from before is not compared with."""
        self._rules = Hysteresis(gap_s=max(10.0, 3 * interval_s))
        self._past = Past(interval_s)

    def work_on(self, subject: str) -> None:
        """Something else is being done from now on: what was before does not compare."""
        if subject == self._subject:
            return
        self._subject = subject
        self.ledger.close()
        # The new ledger reads what the old one wrote last.
        self._behind.flush()
        self.ledger = Ledger(self._folder, subject, append=self._behind)
        self._past.clear()

    def look(self, look: Look) -> list[Happened]:
        """Take in a look; the first one only marks the time."""
        last_s, before = self._last_s, self.reading
        if last_s is not None and look.at_s <= last_s:
            return []
        self._last_s, self.reading = look.at_s, look.reading
        if last_s is None:
            self._started_s = look.at_s
            self.ledger.carry_on(look.at_s)
            return []
        covers_s = look.at_s - last_s
        levels = held_back(before, look.reading, self._rules.gap_s)
        happened = self._throttling(look)
        if self._has_begun(look):
            self._keep(look, covers_s, levels, _energy(before, look.reading))
            happened += self._falling(look.at_s)
        decision = self.governed.look(heat_of(look.at_s, look.reading, levels, look.p99_ms), look.sources)
        if decision is not None:
            happened.append(_decided(decision))
            if decision.acts and decision.before != decision.after:
                # A load that was lowered on purpose is no fall, and one that was raised no recovery.
                self._past.clear()
        notices = self.ledger.take_notices()
        return happened + [Happened("ledger", notice.severity, notice.text, {}) for notice in notices]

    def _has_begun(self, look: Look) -> bool:
        """Whether there is work to keep a record of: minute 1 is not to tell of sources that are being opened."""
        begun = self._begun or look.at_s - self._started_s > _WARM_S
        # The first second with frames is not whole.
        self._begun = begun or look.latency.frames > 0
        return begun

    def _keep(self, look: Look, covers_s: float, levels: dict[Cause, Level], energy_j: float | None) -> None:
        # A reading that is looked at twice tells nothing new: what held the device back then still does.
        ongoing = {throttle.cause.value for throttle in self.throttles if throttle.quiet_s == throttle.lost_s == 0.0}
        self.ledger.add(
            Sample(
                at_s=look.at_s,
                covers_s=covers_s,
                frames=look.latency.frames,
                latency=look.latency,
                gauges=gauges(look.reading),
                energy_j=energy_j,
                causes=tuple(sorted({*causes_of(levels), *ongoing})),
                wall_s=look.wall_s,
            )
        )
        hz = look.latency.frames / covers_s
        self._past.add(look.reading, Throughput(look.at_s, hz, look.offered_hz, look.idle))

    def close(self) -> None:
        """Keep the minute that is running."""
        self.ledger.close()
        self._behind.close()

    def _throttling(self, look: Look) -> list[Happened]:
        # Without a word from the sensors the clock goes on: a throttle nobody tells of any more is given up.
        reading = look.reading or Reading(look.at_s)
        self._throttles, events = advance(self._throttles, reading, self._rules)
        return [_throttled(event) for event in events]

    def _falling(self, now_s: float) -> list[Happened]:
        self.finding = self._past.explain()
        if (self.finding is not None) == self._told:
            self._turned_s = None
            return []
        if self._turned_s is None:
            self._turned_s = now_s
        if now_s - self._turned_s < (_BACK_S if self._told else _FELL_S):
            return []
        self._turned_s, self._told = None, not self._told
        if self.finding is None:
            return [Happened("throughput-back", "info", "throughput is what it was", {})]
        return [_fell(self.finding)]


def _energy(before: Reading | None, now: Reading | None) -> float | None:
    """Joules between two readings; None where they are not known, and where the counter was reset."""
    if before is None or now is None or before.energy_j is None or now.energy_j is None or now.at < before.at:
        return None
    used = now.energy_j - before.energy_j
    return used if used >= 0 else None


def _throttled(event: ThrottleEvent) -> Happened:
    data: dict[str, int | float | str | bool] = {"cause": event.cause.value, **event.numbers}
    begins = event.kind == "begin"
    text = f"throttled: {event.evidence}" if begins else f"no longer throttled ({event.cause.value}): {event.evidence}"
    return Happened(f"throttle-{event.kind}", "warning" if begins else "info", text, data)


def _fell(finding: Finding) -> Happened:
    first = finding.causes[0]
    text = f"throughput fell from {finding.best_hz:.1f} to {finding.now_hz:.1f} frames/s: "
    text += "; ".join(f"{named.cause.value}: {named.evidence}" for named in finding.causes)
    data: dict[str, int | float | str | bool] = {
        "best_hz": round(finding.best_hz, 3),
        "now_hz": round(finding.now_hz, 3),
        "cause": first.cause.value,
        **first.numbers,
    }
    return Happened("throughput-fell", "warning", text, data)


def _decided(decision: Decision) -> Happened:
    text = decision.reason
    if decision.before != decision.after:
        doing = f"{decision.kind} the load to {decision.load.text}"
        text = f"{doing if decision.acts else f'advice: {doing}'}: {decision.reason}"
    data: dict[str, int | float | str | bool] = {
        "level": decision.after,
        "before": decision.before,
        "share": round(decision.load.share, 4),
        "acts": decision.acts,
        **decision.evidence,
    }
    severity = "warning" if decision.kind in ("lower", "exhausted", "blind") else "info"
    return Happened(f"governor-{decision.kind}", severity, f"governor: {text}", data)
