# SPDX-License-Identifier: Apache-2.0
"""The host: memory, how busy the CPU is and how long work waits for it, its own throttle counters, power mode."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from edged.monitor.readings import Cause, Memory, PowerMode
from edged.monitor.sensors_files import SensorFile, UnknownValueError, glance, numbered
from edged.monitor.sensors_sheet import Sheet, plausible

_MODE = re.compile(r"pmode:(\d+)")
_MODEL = re.compile(r"<\s*POWER_MODEL\s+(?=[^>]*\bID=(\d+))(?=[^>]*\bNAME=([^\s>]+))[^>]*>")
_SOME = re.compile(r"^some .*\btotal=(\d+)", re.MULTILINE)


class HostMemory:
    """Memory of the host, which on an integrated GPU is the GPU's too.

    Args:
        root: of the file system.
        kind: what to call it.
    """

    def __init__(self, root: Path, kind: Literal["unified", "host"]) -> None:
        self._kind = kind
        self._file = SensorFile(root / "proc/meminfo")

    def read(self, sheet: Sheet) -> None:
        """Total and used (total less available); leaves what a GPU has already told."""
        if sheet.memory is not None:
            return
        try:
            values = _meminfo(self._file.text())
            total, available = values["MemTotal"], values["MemAvailable"]
        except UnknownValueError as error:
            sheet.missing(self._kind, "memory", str(error))
        except (KeyError, ValueError):
            sheet.missing(self._kind, "memory", f"no MemTotal or MemAvailable ({self._file.path})")
        else:
            sheet.memory = Memory(self._kind, max(0, total - available), total)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def _meminfo(text: str) -> dict[str, int]:
    lines = (line.split() for line in text.splitlines()[:8])
    return {words[0].rstrip(":"): int(words[1]) * 1024 for words in lines if len(words) > 1}


class HostLoad:
    """How busy the CPU was since the reading before, and how long runnable work has waited for it.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        self._stat = SensorFile(root / "proc/stat")
        # Not every kernel has it: then it is no sensor of this machine, rather than an unknown one.
        pressure = root / "proc/pressure/cpu"
        self._pressure = SensorFile(pressure) if glance(pressure) else None
        self._before: tuple[float, float] | None = None

    def read(self, sheet: Sheet) -> None:
        """Load (unknown in the first reading: it is a difference) and the pressure counter."""
        before = self._before
        self._before = None
        ticks = sheet.asked("cpu", "load", self._ticks)
        if ticks is not None and before is not None and self._before is not None:
            busy, total = self._before[0] - before[0], self._before[1] - before[1]
            sheet.sensor("cpu", "load", lambda: _share(busy, total))
        if self._pressure is not None:
            waited = sheet.asked("cpu pressure", "counter", self._waited)
            if waited is not None:
                sheet.counter("cpu pressure", Cause.HOST_CPU, waited, "seconds")

    def _ticks(self) -> float:
        words = self._stat.text().split("\n", 1)[0].split()
        if len(words) < 9 or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
            raise UnknownValueError(f"no line 'cpu' ({self._stat.path})")
        # user nice system idle iowait irq softirq steal; guest time is contained in user.
        ticks = [float(word) for word in words[1:9]]
        self._before = (sum(ticks) - ticks[3] - ticks[4], sum(ticks))
        return self._before[1]

    def _waited(self) -> float:
        assert self._pressure is not None
        match = _SOME.search(self._pressure.text())
        if match is None:
            raise UnknownValueError(f"no total ({self._pressure.path})")
        return int(match[1]) * 1e-6

    def close(self) -> None:
        """Close all files."""
        self._stat.close()
        if self._pressure is not None:
            self._pressure.close()


def _share(busy: float, total: float) -> float:
    if total <= 0:
        raise UnknownValueError("no time has passed")
    return plausible("load", busy / total)


class CpuThrottle:
    """What an x86 CPU counts by itself: how long, or how often, each package was held back for heat.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        packages: dict[str, tuple[str, SensorFile, Literal["seconds", "events"]]] = {}
        for cpu in numbered(root / "sys/devices/system/cpu", "cpu"):
            package = glance(cpu / "topology/physical_package_id")
            time, count = (cpu / f"thermal_throttle/package_throttle_{what}" for what in ("total_time_ms", "count"))
            if package and package not in packages and count.exists():
                timed = time.exists()
                unit: Literal["seconds", "events"] = "seconds" if timed else "events"
                packages[package] = (f"package {package}", SensorFile(time if timed else count), unit)
        self._packages = tuple(packages.values())

    def read(self, sheet: Sheet) -> None:
        """Counters."""
        for name, file, unit in self._packages:
            value = sheet.asked(name, "counter", file.number)
            if value is not None:
                sheet.counter(name, Cause.THERMAL, value * 1e-3 if unit == "seconds" else value, unit)

    def close(self) -> None:
        """Close all files."""
        for _, file, _ in self._packages:
            file.close()


class NvpModel:
    """The power mode of a Jetson, from the files that its tool keeps: no program is run.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        configuration = glance(root / "etc/nvpmodel.conf")
        self._names = {int(match[1]): match[2] for match in _MODEL.finditer(configuration)}
        self._wanted = bool(configuration)
        self._status = SensorFile(root / "var/lib/nvpmodel/status")

    def read(self, sheet: Sheet) -> None:
        """The mode; nothing on a machine that has none."""
        if not self._wanted:
            return
        number = sheet.asked("nvpmodel", "power mode", self._number)
        if number is not None:
            sheet.power_mode = PowerMode(int(number), self._names.get(int(number), ""))

    def _number(self) -> float:
        match = _MODE.search(self._status.text())
        if match is None:
            raise UnknownValueError(f"no mode ({self._status.path})")
        return int(match[1])

    def close(self) -> None:
        """Close the file."""
        self._status.close()
