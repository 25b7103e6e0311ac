# SPDX-License-Identifier: Apache-2.0
"""Whether throughput fell, and the two spans to compare: when it was best, and now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from statistics import median

from edged.monitor.causes_evidence import Level, allowed, compute_clocks, middles, over
from edged.monitor.readings import Cause, Kind, PowerMode, Reading, Throughput


@dataclass(frozen=True)
class Thresholds:
    """What counts as a fall and as evidence.

    Attributes:
        fell: share by which throughput must be below its best.
        span_s: length of the spans that are compared; medians over them are what counts.
        figures: so many figures a span needs.
        gap_s: readings further apart say nothing about the time between them.
        share: share of the time that a cause must be at work.
        more: by how much that share must have risen, where no clock fell.
        clock: share by which a clock must be lower.
        margin_c: °C from the slowdown temperature that count as being there.
        limit: share of the power limit that counts as being there.
        capped: share by which the allowed clock must be lower.
        idle: by how much the idle share must have risen.
        busy: load of the CPU that counts as full.
        waiting: by how much the share of time in which work waits for the CPU must have risen.
    """

    fell: float = 0.05
    span_s: float = 10.0
    figures: int = 3
    gap_s: float = 10.0
    share: float = 0.05
    more: float = 0.05
    clock: float = 0.02
    margin_c: float = 2.0
    limit: float = 0.97
    capped: float = 0.03
    idle: float = 0.1
    busy: float = 0.9
    waiting: float = 0.15


@dataclass(frozen=True)
class Span:
    """One of the two spans.

    Attributes:
        figures: of the pipeline, oldest first; not empty.
        readings: of the machine, oldest first; may be empty.
        gap_s: see `Thresholds`.
    """

    figures: Sequence[Throughput]
    readings: Sequence[Reading]
    gap_s: float = field(default=10.0)

    @cached_property
    def hz(self) -> float:
        """Median of the throughput."""
        return median(figure.hz for figure in self.figures)

    @cached_property
    def levels(self) -> dict[Cause, Level]:
        """What was at work."""
        return over(self.readings, self.gap_s)

    def level(self, cause: Cause) -> Level:
        """How much one cause was at work; nothing where it is unknown."""
        return self.levels.get(cause, Level())

    def middles(self, kind: Kind) -> dict[str, float]:
        """Median of each sensor of a kind."""
        return middles(self.readings, kind)

    @cached_property
    def clocks(self) -> dict[str, float]:
        """Medians of the clocks that set the pace, Hz."""
        return compute_clocks(self.middles("clock"))

    @cached_property
    def allowed(self) -> dict[str, float]:
        """Medians of what these clocks were allowed, Hz."""
        return compute_clocks(allowed(self.readings))

    @property
    def mode(self) -> PowerMode | None:
        """The last power mode that is known."""
        return next((reading.power_mode for reading in reversed(self.readings) if reading.power_mode), None)

    @property
    def idle(self) -> float | None:
        """Median of the infer loop's idle share; None where unknown."""
        known = [figure.idle for figure in self.figures if figure.idle is not None]
        return median(known) if known else None

    @property
    def offered_hz(self) -> float | None:
        """Median of the frames captured a second; None where unknown."""
        known = [figure.offered_hz for figure in self.figures if figure.offered_hz is not None]
        return median(known) if known else None


def spans(
    readings: Sequence[Reading], figures: Sequence[Throughput], thresholds: Thresholds
) -> tuple[Span, Span] | None:
    """The best span and the newest one, where throughput fell; else None.

    Args:
        readings: oldest first.
        figures: oldest first.
        thresholds: what counts as a fall.
    """
    if not figures:
        return None
    end = figures[-1].at
    buckets: dict[int, list[Throughput]] = {}
    for figure in figures:
        buckets.setdefault(int((end - figure.at) // thresholds.span_s), []).append(figure)
    full = {age: bucket for age, bucket in buckets.items() if len(bucket) >= thresholds.figures}
    newest = full.pop(0, None)
    if newest is None or not full:
        return None
    best = max(full, key=lambda age: median(figure.hz for figure in full[age]))
    now = _span(readings, newest, end, 0, thresholds)
    then = _span(readings, full[best], end, best, thresholds)
    return (then, now) if now.hz < (1 - thresholds.fell) * then.hz else None


def _span(
    readings: Sequence[Reading], figures: Sequence[Throughput], end: float, age: int, thresholds: Thresholds
) -> Span:
    last = end - age * thresholds.span_s
    # A reading is taken just before or after the figures of its moment: both ends are generous by a little.
    slack = thresholds.span_s * 0.1
    chosen = [reading for reading in readings if last - thresholds.span_s - slack <= reading.at <= last + slack]
    return Span(figures, chosen, thresholds.gap_s)
