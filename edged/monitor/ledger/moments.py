# SPDX-License-Identifier: Apache-2.0
"""The last hour second by second, for plots."""

from __future__ import annotations

from array import array
from math import nan
from typing import NamedTuple

from edged.monitor.ledger.sample import Sample

MOMENTS = 3600
_COLUMNS = 6


class Moment(NamedTuple):
    """One reading; what was unknown is not a number (nan).

    Attributes:
        at_s: monotonic clock, seconds.
        rate_hz: frames a second since the reading before.
        temperature_c: degrees Celsius.
        gpu_clock_mhz: megahertz.
        power_w: watts.
        held_back: 1.0 where any cause held the device back, else 0.0.
    """

    at_s: float
    rate_hz: float
    temperature_c: float
    gpu_clock_mhz: float
    power_w: float
    held_back: float


class Moments:
    """A ring of the last `MOMENTS` readings: 8 bytes a figure, 169 KiB in all."""

    def __init__(self) -> None:
        self._cells = array("d", bytes(8 * _COLUMNS * MOMENTS))
        self._count = 0

    def add(self, sample: Sample) -> None:
        """Take in a reading, in place of the oldest."""
        gauges = sample.gauges
        temperature, clock, power = (gauges.get(name) for name in ("temperature_c", "gpu_clock_mhz", "power_w"))
        at = _COLUMNS * (self._count % MOMENTS)
        self._cells[at : at + _COLUMNS] = array(
            "d",
            (
                sample.at_s,
                sample.frames / sample.covers_s,
                nan if temperature is None else temperature,
                nan if clock is None else clock,
                nan if power is None else power,
                float(bool(sample.causes)),
            ),
        )
        self._count += 1

    def between(self, from_s: float, to_s: float) -> list[Moment]:
        """The readings of a stretch of time, oldest first; both ends belong to it."""
        first = max(0, self._count - MOMENTS)
        starts = (_COLUMNS * (index % MOMENTS) for index in range(first, self._count))
        moments = (Moment(*self._cells[at : at + _COLUMNS]) for at in starts)
        return [moment for moment in moments if from_s <= moment.at_s <= to_s]
