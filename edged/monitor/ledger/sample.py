# SPDX-License-Identifier: Apache-2.0
"""What the ledger is given: what happened since the last time, usually one second ago."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from edged.monitor.ledger.bins import bin_of

GAUGES = ("temperature_c", "margin_c", "gpu_clock_mhz", "memory_clock_mhz", "cpu_clock_mhz", "power_w")
"""What is kept of the device, by name; the unit is the name's last part."""


class Latencies(NamedTuple):
    """Latencies that were already counted, as sums that can be added and subtracted without loss.

    Attributes:
        frames: how many.
        total_us: their sum, microseconds.
        total_us2: the sum of their squares, square microseconds.
        bins: how many fell in which bin of `edged.monitor.ledger.bins`; bins with none may be absent.
    """

    frames: int
    total_us: int
    total_us2: int
    bins: Mapping[int, int]

    @classmethod
    def of(cls, latencies_ms: Iterable[float]) -> Latencies:
        """Count latencies, milliseconds; negative ones count as 0."""
        values = [max(value, 0.0) for value in latencies_ms]
        rounded = [round(1000 * value) for value in values]
        squares = sum(value * value for value in rounded)
        return cls(len(values), sum(rounded), squares, Counter(bin_of(value) for value in values))


NO_LATENCIES = Latencies(0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class Sample:
    """One reading. What a sensor does not tell is absent, never 0.

    Attributes:
        at_s: when it was taken, seconds of the monotonic clock; what it tells happened in the ``covers_s`` before.
        covers_s: since the reading before, seconds, above 0.
        frames: frames that went out.
        latency: of these frames.
        gauges: readings by a name of `GAUGES`; others are left out.
        energy_j: what the device used, joules, where a counter of energy tells; else power times time is taken.
        causes: what held the device back meanwhile, by the names of the monitor's causes.
        wall_s: Unix time, a label for people that nothing is computed from.
    """

    at_s: float
    covers_s: float
    frames: int
    latency: Latencies = NO_LATENCIES
    gauges: Mapping[str, float | None] = field(default_factory=dict)
    energy_j: float | None = None
    causes: tuple[str, ...] = ()
    wall_s: float = 0.0
