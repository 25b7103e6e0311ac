# SPDX-License-Identifier: Apache-2.0
"""A discrete GPU, by NVML's answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from edged.gpu.nvml import Answer
from edged.monitor.readings import Cause, Kind, Memory
from edged.monitor.sensors_files import UnknownValueError
from edged.monitor.sensors_sheet import Sheet

_BITS: dict[int, tuple[str, Cause | None]] = {
    # Idle (1) and sync boost (16) slow nothing down by themselves.
    0x2: ("application clocks", Cause.POWER_MODE),
    0x4: ("software power cap", Cause.POWER_CAP),
    0x8: ("hardware slowdown", None),
    0x20: ("software thermal slowdown", Cause.THERMAL),
    0x40: ("hardware thermal slowdown", Cause.THERMAL),
    0x80: ("power brake", Cause.OVER_CURRENT),
}
_COUNTERS: dict[str, Cause] = {
    "power cap": Cause.POWER_CAP,
    "thermal policy": Cause.THERMAL,
    "software thermal slowdown": Cause.THERMAL,
    "hardware thermal slowdown": Cause.THERMAL,
    "power brake": Cause.OVER_CURRENT,
}
_SENSORS: tuple[tuple[str, Kind, float], ...] = (
    ("temperature", "temperature", 1.0),
    ("margin", "margin", 1.0),
    ("load", "load", 1e-2),
    ("fan", "fan", 1e-2),
)


class AnswersOfGpu(Protocol):
    """What `edged.gpu.nvml.NvmlGpu` is to this module."""

    def answers(self) -> dict[str, Answer]:
        """Everything that NVML tells now."""
        ...

    def close(self) -> None:
        """Give NVML back."""
        ...


class NoNvml:
    """Stands for a GPU that NVML does not tell about, and says why in each reading.

    Args:
        reason: one line.
    """

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def read(self, sheet: Sheet) -> None:
        """Note that the GPU is unknown."""
        sheet.missing("gpu", "nvml", self._reason)

    def close(self) -> None:
        """Nothing is open."""


class NvmlSensors:
    """Temperature, margin, clocks, power, energy, throttle reasons and counters of one GPU.

    Args:
        gpu: an open one; ended with this.
    """

    def __init__(self, gpu: AnswersOfGpu) -> None:
        self._gpu = gpu

    def read(self, sheet: Sheet) -> None:
        """Ask once and note everything."""
        answers = self._gpu.answers()
        for key, kind, scale in _SENSORS:
            # A passively cooled GPU has no fan: that is no unknown sensor.
            if key in answers:
                sheet.sensor("gpu", kind, _ask(answers, key), scale)
        self._power(answers, sheet)
        self._clocks(answers, sheet)
        self._memory(answers, sheet)
        reasons = sheet.asked("clock event reasons", "flag", _ask(answers, "reasons"))
        if reasons is not None:
            for bit, (name, cause) in _BITS.items():
                sheet.flag(name, cause, bool(int(reasons) & bit))
        for name, cause in _COUNTERS.items():
            value = sheet.asked(name, "counter", _ask(answers, name))
            if value is not None:
                sheet.counter(name, cause, value * 1e-9, "seconds")

    @staticmethod
    def _power(answers: dict[str, Answer], sheet: Sheet) -> None:
        sheet.power_w = sheet.sensor("gpu", "power", _ask(answers, "power"), 1e-3)
        sheet.power_limit_w = sheet.sensor("gpu", "power_limit", _ask(answers, "power limit"), 1e-3)
        sheet.energy_j = sheet.sensor("gpu", "energy", _ask(answers, "energy"), 1e-3)

    @staticmethod
    def _clocks(answers: dict[str, Answer], sheet: Sheet) -> None:
        for key, name in (("clock", "gpu"), ("memory clock", "gpu-memory")):
            now = sheet.sensor(name, "clock", _ask(answers, key), 1e6)
            if now is not None:
                most = answers.get(f"max {key}", Answer(None, "")).value
                sheet.clock(name, now, None, most * 1e6 if most else None)

    @staticmethod
    def _memory(answers: dict[str, Answer], sheet: Sheet) -> None:
        used = sheet.asked("gpu", "memory", _ask(answers, "memory used"))
        total = sheet.asked("gpu", "memory", _ask(answers, "memory total"))
        if used is not None and total:
            sheet.memory = Memory("gpu", int(used), int(total))

    def close(self) -> None:
        """Give NVML back."""
        self._gpu.close()


def _ask(answers: dict[str, Answer], key: str) -> Callable[[], float]:
    answer = answers.get(key, Answer(None, "not asked for"))

    def value() -> float:
        if answer.value is None:
            raise UnknownValueError(answer.reason)
        return answer.value

    return value
