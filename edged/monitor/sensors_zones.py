# SPDX-License-Identifier: Apache-2.0
"""Thermal zones, and the devices that the kernel cools by slowing them down. The same on a Jetson and on any Linux."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from edged.monitor.readings import Cause
from edged.monitor.sensors_files import Names, SensorFile, glance, glance_number, numbered
from edged.monitor.sensors_sheet import Sheet

_SLOWS_DOWN = re.compile(r".*-throttle-alert|hot-surface-alert|devfreq-.*|(thermal-)?cpufreq-.*|Processor")
"""Types of cooling devices that work by slowing something down. A fan's state is not among them, nor is
``intel_powerclamp``, which is −1 when idle."""
_TRIPS_C = (40.0, 150.0)
"""Where a trip point may lie to be believed; some firmware leaves zeros."""


class _Zone(NamedTuple):
    name: str
    file: SensorFile
    trip: float | None
    """Lowest temperature at which the kernel slows something down, °C; None where the zone has none."""


class Zones:
    """Temperatures and margins by the zones' types, and what is being slowed down for heat.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        folder = root / "sys/class/thermal"
        names = Names()
        self._zones = tuple(
            _Zone(names.unique(glance(zone / "type") or zone.name), SensorFile(zone / "temp"), _trip(zone))
            for zone in numbered(folder, "thermal_zone")
        )
        devices = ((glance(device / "type"), device) for device in numbered(folder, "cooling_device"))
        slowing = ((kind, device) for kind, device in devices if _SLOWS_DOWN.fullmatch(kind))
        self._coolers = tuple((names.unique(kind), SensorFile(device / "cur_state")) for kind, device in slowing)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the zones."""
        return tuple(zone.name for zone in self._zones)

    def read(self, sheet: Sheet) -> None:
        """Temperatures, margins, throttle flags."""
        for zone in self._zones:
            temperature = sheet.sensor(zone.name, "temperature", zone.file.number, 1e-3)
            if temperature is not None and zone.trip is not None:
                sheet.known(zone.name, "margin", zone.trip - temperature)
        for name, file in self._coolers:
            state = sheet.asked(name, "flag", file.number)
            if state is not None:
                sheet.flag(name, Cause.THERMAL, state > 0)

    def close(self) -> None:
        """Close all files."""
        for zone in self._zones:
            zone.file.close()
        for _, file in self._coolers:
            file.close()


def _trip(zone: Path) -> float | None:
    found = []
    for path in zone.glob("trip_point_*_type"):
        if glance(path) == "passive":
            value = glance_number(path.with_name(path.name.replace("_type", "_temp")))
            if value is not None and _TRIPS_C[0] <= value / 1e3 <= _TRIPS_C[1]:
                found.append(value / 1e3)
    return min(found, default=None)
