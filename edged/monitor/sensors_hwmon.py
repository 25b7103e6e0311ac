# SPDX-License-Identifier: Apache-2.0
"""Hardware monitors: power rails, fans, over-current events of a Jetson, and temperatures of other machines."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import NamedTuple

from edged.monitor.readings import Cause, Kind
from edged.monitor.sensors_files import Names, SensorFile, UnknownValueError, glance, numbered
from edged.monitor.sensors_sheet import Sheet

_TOTALS = (("VDD_IN",), ("VIN",), ("VDD_GPU_SOC", "VDD_CPU_CV", "VIN_SYS_5V0"))
"""Rails that together carry all of a module, the best first: Orin NX and Nano, Thor, AGX Orin (no total)."""
_UNWIRED = re.compile(r"NC|sum of shunt voltages", re.IGNORECASE)
_EVENTS = {1: "under-voltage", 2: "average over-current", 3: "instantaneous over-current"}
_MOST_TEMPERATURES = 8
"""Of one chip: a server has one for each of its cores, and one of them is like the others."""


class _Value(NamedTuple):
    name: str
    kind: Kind
    ask: Callable[[], float]
    scale: float


class Hwmon:
    """All hardware monitors that say something about heat and power.

    Args:
        root: of the file system.
        zones: names of the thermal zones, which also appear as monitors and are left out here.
    """

    def __init__(self, root: Path, zones: Collection[str]) -> None:
        self._files: list[SensorFile] = []
        self._values: list[_Value] = []
        self._rails: dict[str, _Value] = {}
        self._alarms: list[tuple[str, SensorFile]] = []
        self._events: list[tuple[str, Cause | None, SensorFile]] = []
        self._names = Names()
        same = {zone.replace("-", "_") for zone in zones}
        for monitor in numbered(root / "sys/class/hwmon", "hwmon"):
            self._discover(monitor, glance(monitor / "name"), same)
        known = (group for group in _TOTALS if all(rail in self._rails for rail in group))
        self._total = next(known, ())

    def _discover(self, monitor: Path, name: str, same: Collection[str]) -> None:
        if name == "ina3221":
            self._ina3221(monitor)
        elif name == "ina238":
            rail = glance(monitor / "in1_label") or glance(monitor / "label") or "VIN"
            self._rail(rail, self._open(monitor / "power1_input").number, 1e-6)
        elif name == "soctherm_oc":
            self._over_current(monitor)
        else:
            if name.replace("-", "_") not in same:
                self._temperatures(monitor, name)
            self._fans(monitor, name)

    def _open(self, path: Path) -> SensorFile:
        self._files.append(SensorFile(path))
        return self._files[-1]

    def _rail(self, name: str, ask: Callable[[], float], scale: float) -> None:
        name = self._names.unique(name)
        self._rails[name] = _Value(name, "power", ask, scale)

    def _ina3221(self, monitor: Path) -> None:
        for channel in (1, 2, 3):
            label = glance(monitor / f"in{channel}_label")
            if not label or _UNWIRED.fullmatch(label):
                continue
            volts, amperes = self._open(monitor / f"in{channel}_input"), self._open(monitor / f"curr{channel}_input")
            self._rail(label, _product(volts, amperes), 1e-6)
            for level in ("crit", "max"):
                # Reading is harmless; the limits themselves must never be written: they protect the board.
                if (path := monitor / f"curr{channel}_{level}_alarm").exists():
                    self._alarms.append((f"{label} {level} alarm", self._open(path)))

    def _over_current(self, monitor: Path) -> None:
        for number, meaning in _EVENTS.items():
            if (path := monitor / f"oc{number}_event_cnt").exists():
                throttles = glance(monitor / f"oc{number}_throt_en") != "0"
                cause = Cause.OVER_CURRENT if throttles else None
                self._events.append((f"oc{number} {meaning}", cause, self._open(path)))

    def _temperatures(self, monitor: Path, name: str) -> None:
        for number, path in enumerate(_inputs(monitor, "temp")):
            label = glance(path.with_name(path.name.replace("_input", "_label")))
            if number < _MOST_TEMPERATURES and not label.startswith("Core "):
                own = self._names.unique(f"{name}:{label or path.name.removesuffix('_input')}")
                self._values.append(_Value(own, "temperature", self._open(path).number, 1e-3))

    def _fans(self, monitor: Path, name: str) -> None:
        speeds = [*_inputs(monitor, "fan"), *((monitor / "rpm",) if (monitor / "rpm").exists() else ())]
        for path in speeds:
            self._values.append(_Value(self._names.unique(name), "fan_speed", self._open(path).number, 1.0))
        # Only a Jetson's fan: a mainboard has outputs to which nothing is connected.
        if name == "pwmfan" and (monitor / "pwm1").exists():
            self._values.append(_Value(name, "fan", self._open(monitor / "pwm1").number, 1 / 255))

    def read(self, sheet: Sheet) -> None:
        """Rails and their total, temperatures, fans, alarms, over-current events."""
        rails = {name: sheet.sensor(*rail) for name, rail in self._rails.items()}
        parts = [value for name in self._total if (value := rails[name]) is not None]
        if parts and len(parts) == len(self._total):
            sheet.power_w = sum(parts)
        for other in self._values:
            sheet.sensor(*other)
        for name, file in self._alarms:
            alarm = sheet.asked(name, "flag", file.number)
            if alarm is not None:
                sheet.flag(name, Cause.OVER_CURRENT, alarm > 0)
        for name, cause, file in self._events:
            count = sheet.asked(name, "counter", file.number)
            if count is not None:
                sheet.counter(name, cause, count, "events")

    def close(self) -> None:
        """Close all files."""
        for file in self._files:
            file.close()


def _inputs(monitor: Path, prefix: str) -> Iterator[Path]:
    found = (re.fullmatch(rf"{prefix}(\d+)_input", path.name) for path in monitor.iterdir())
    numbers = sorted(int(match[1]) for match in found if match)
    yield from (monitor / f"{prefix}{number}_input" for number in numbers)


def _product(volts: SensorFile, amperes: SensorFile) -> Callable[[], float]:
    def milliwatts() -> float:
        first, second = volts.number(), amperes.number()
        if first < 0 or second < 0:
            raise UnknownValueError(f"absurd: {first:g} mV, {second:g} mA ({volts.path.parent})")
        return first * second

    return milliwatts
