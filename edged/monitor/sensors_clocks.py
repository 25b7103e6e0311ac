# SPDX-License-Identifier: Apache-2.0
"""Clocks of GPU and CPU, and how far they may go."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

from edged.monitor.sensors_files import Names, SensorFile, UnknownValueError, glance, glance_number, numbered
from edged.monitor.sensors_sheet import Sheet, plausible

_GPU_NODES = frozenset({"gpu", "ga10b", "gv11b", "gp10b", "gb10b"})
_THOR = re.compile(r"gpu-(gpc|nvd|sys)-\d+")
_MOST_CPUS = 4
"""A server has a policy for each core; a Jetson one for each cluster."""


class _Domain(NamedTuple):
    name: str
    now: SensorFile
    allowed: SensorFile
    hardware: float | None
    scale: float


class DevfreqGpu:
    """The GPU of a Jetson: clocks and load by its nodes in devfreq.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        nodes = _gpu_nodes(root / "sys/class/devfreq")
        names = Names()
        self._domains = tuple(
            _Domain(
                names.unique(node.name if _THOR.fullmatch(node.name) else "gpu"),
                SensorFile(node / "cur_freq"),
                SensorFile(node / "max_freq"),
                _fastest(node),
                1.0,
            )
            for node in nodes
        )
        loads = (node / "device/load" for node in nodes)
        self._load = next((SensorFile(path) for path in loads if path.exists()), None)

    @property
    def found(self) -> bool:
        """Whether there is one; then it is asked, not NVML, which on Orin answers little."""
        return bool(self._domains)

    def read(self, sheet: Sheet) -> None:
        """Clocks and load."""
        _read(self._domains, sheet)
        if self._load is not None:
            # In tenths of a percent.
            sheet.sensor("gpu", "load", self._load.number, 1e-3)

    def close(self) -> None:
        """Close all files."""
        _close(self._domains)
        if self._load is not None:
            self._load.close()


class CpuClocks:
    """Clocks of the CPU by cpufreq: at most four of its policies, evenly spread.

    Args:
        root: of the file system.
    """

    def __init__(self, root: Path) -> None:
        policies = list(numbered(root / "sys/devices/system/cpu/cpufreq", "policy"))
        step = -(-len(policies) // _MOST_CPUS) or 1
        self._domains = tuple(
            _Domain(
                "cpu" + policy.name.removeprefix("policy"),
                SensorFile(policy / "scaling_cur_freq"),
                SensorFile(policy / "scaling_max_freq"),
                _kilohertz(policy / "cpuinfo_max_freq"),
                1e3,
            )
            for policy in policies[::step]
        )

    def read(self, sheet: Sheet) -> None:
        """Clocks."""
        _read(self._domains, sheet)

    def close(self) -> None:
        """Close all files."""
        _close(self._domains)


def _read(domains: tuple[_Domain, ...], sheet: Sheet) -> None:
    for domain in domains:
        now = sheet.sensor(domain.name, "clock", domain.now.number, domain.scale)
        if now is not None:
            sheet.clock(domain.name, now, _allowed(domain), domain.hardware)


def _allowed(domain: _Domain) -> float | None:
    try:
        return plausible("clock", domain.allowed.number() * domain.scale) or None
    except UnknownValueError:
        # The clock itself is known; only what holds it down is not.
        return None


def _close(domains: tuple[_Domain, ...]) -> None:
    for domain in domains:
        domain.now.close()
        domain.allowed.close()


def _gpu_nodes(folder: Path) -> list[Path]:
    try:
        names = sorted(os.listdir(folder))
    except OSError:
        return []
    return [folder / name for name in names if _is_gpu(folder / name)]


def _is_gpu(node: Path) -> bool:
    return glance(node / "device/of_node/name") in _GPU_NODES or _THOR.fullmatch(node.name) is not None


def _fastest(node: Path) -> float | None:
    steps = [float(word) for word in glance(node / "available_frequencies").split() if word.isdigit()]
    return max(steps, default=None)


def _kilohertz(path: Path) -> float | None:
    value = glance_number(path)
    return None if value is None or value <= 0 else value * 1e3
