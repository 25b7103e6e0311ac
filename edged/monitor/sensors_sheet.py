# SPDX-License-Identifier: Apache-2.0
"""The sheet that sensors fill in: what is plausible is noted, everything else is noted as unknown."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal, Protocol

from edged.monitor.readings import (
    UNITS,
    Cause,
    Clock,
    Counter,
    Flag,
    Kind,
    Memory,
    PowerMode,
    Reading,
    Sensor,
    Unknown,
)
from edged.monitor.sensors_files import UnknownValueError

_PLAUSIBLE: dict[Kind, tuple[float, float]] = {
    # Jetson's switched-off sensors say −256 °C, disconnected ones elsewhere 255 or 65,261 °C.
    "temperature": (-60.0, 200.0),
    "margin": (-100.0, 260.0),
    "clock": (0.0, 2e10),
    "power": (0.0, 5e3),
    "power_limit": (1.0, 5e3),
    "energy": (0.0, 1e13),
    "voltage": (0.0, 1e3),
    "load": (0.0, 1.0),
    "fan": (0.0, 2.0),
    "fan_speed": (0.0, 1e5),
}


class Part(Protocol):
    """A group of sensors that are read together."""

    def read(self, sheet: Sheet) -> None:
        """Fill in what is known now; never raises for a sensor that fails."""
        ...

    def close(self) -> None:
        """Give back what was kept open."""
        ...


class Sheet:
    """Collects one reading.

    Args:
        at: monotonic clock, seconds.
    """

    def __init__(self, at: float) -> None:
        self.at = at
        self.power_w: float | None = None
        self.power_limit_w: float | None = None
        self.energy_j: float | None = None
        self.memory: Memory | None = None
        self.power_mode: PowerMode | None = None
        self._sensors: list[Sensor] = []
        self._unknown: list[Unknown] = []
        self._clocks: list[Clock] = []
        self._flags: list[Flag] = []
        self._counters: list[Counter] = []

    def sensor(self, name: str, kind: Kind, ask: Callable[[], float], scale: float = 1.0) -> float | None:
        """Note a sensor's value times ``scale``, and return it; None where it is unknown or absurd."""
        value = self.asked(name, kind, lambda: plausible(kind, ask() * scale))
        if value is not None:
            self.known(name, kind, value)
        return value

    def known(self, name: str, kind: Kind, value: float) -> None:
        """Note a value that is beyond doubt."""
        self._sensors.append(Sensor(name, kind, value, UNITS[kind]))

    def asked(self, name: str, kind: str, ask: Callable[[], float]) -> float | None:
        """What was answered, noted nowhere; where nothing was, that is noted as unknown."""
        try:
            return ask()
        except UnknownValueError as error:
            self.missing(name, kind, str(error))
            return None

    def missing(self, name: str, kind: str, reason: str) -> None:
        """Note that a value is unknown."""
        self._unknown.append(Unknown(name, kind, reason))

    def clock(self, name: str, hertz: float, allowed: float | None = None, hardware: float | None = None) -> None:
        """Note a clock."""
        self._clocks.append(Clock(name, hertz, allowed, hardware))

    def flag(self, name: str, cause: Cause | None, active: bool) -> None:
        """Note whether a cause is at work."""
        self._flags.append(Flag(name, cause, active))

    def counter(self, name: str, cause: Cause | None, value: float, unit: Literal["seconds", "events"]) -> None:
        """Note what a cause has amounted to."""
        self._counters.append(Counter(name, cause, value, unit))

    def reading(self) -> Reading:
        """All that was noted."""
        return Reading(
            self.at,
            tuple(self._sensors),
            tuple(self._unknown),
            tuple(self._clocks),
            self.power_w,
            self.power_limit_w,
            self.energy_j,
            self.memory,
            tuple(self._flags),
            tuple(self._counters),
            self.power_mode,
        )


def plausible(kind: Kind, value: float) -> float:
    """The value, where a sensor of this kind can have it.

    Raises:
        UnknownValueError: it cannot.
    """
    low, high = _PLAUSIBLE[kind]
    if not math.isfinite(value) or not low <= value <= high:
        raise UnknownValueError(f"absurd: {value:g} {UNITS[kind]}")
    return value
