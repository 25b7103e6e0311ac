# SPDX-License-Identifier: Apache-2.0
"""Readings of the driver's management library by nothing of edged: the C library itself, in a process of its own.

    python -m tools.gpu.nvml_log FILE [SECONDS]      until its standard input ends

Each line: monotonic seconds, °C, milliwatts, millijoules since the driver was loaded, MHz; ``-`` where it told nothing.
"""

from __future__ import annotations

import ctypes
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

_LIBRARIES = (
    "libnvidia-ml.so.1",
    "/usr/local/nvidia/lib64/libnvidia-ml.so.1",
    "/usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1",
    "/usr/lib64/libnvidia-ml.so.1",
)
_GRAPHICS_CLOCK, _GPU_SENSOR = 0, 0


class Row(NamedTuple):
    """One reading; what was unknown is None."""

    at_s: float
    temperature_c: float | None
    power_w: float | None
    energy_j: float | None
    clock_mhz: float | None


def read_rows(path: Path) -> list[Row]:
    """What a log holds; a line that was cut short is left out."""
    rows = []
    for line in path.read_text(encoding="ascii").splitlines():
        words = [None if word == "-" else float(word) for word in line.split()]
        if len(words) == 5:
            at, temperature, power, energy, clock = words
            assert at is not None
            rows.append(Row(at, temperature, _thousandth(power), _thousandth(energy), clock))
    return rows


def _thousandth(value: float | None) -> float | None:
    return None if value is None else value / 1000


def _library() -> ctypes.CDLL:
    failed = []
    for name in _LIBRARIES:
        try:
            return ctypes.CDLL(name)
        except OSError as error:
            failed.append(str(error))
    raise SystemExit(f"no NVML here: {failed[0]}")


class _MemoryInfo(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


class DeviceMemory:
    """Memory of the whole GPU, whoever has it.

    Raises:
        SystemExit: there is no NVML.
    """

    def __init__(self) -> None:
        self._library = _library()
        self._handle = _gpu(self._library)

    def used_mb(self) -> float:
        """What is taken now, MB."""
        info = _MemoryInfo()
        code = self._library.nvmlDeviceGetMemoryInfo(self._handle, ctypes.byref(info))
        if code:
            raise OSError(f"NVML does not tell the memory in use (error {code})")
        return float(info.used) / 1e6


def _gpu(library: ctypes.CDLL) -> ctypes.c_void_p:
    handle = ctypes.c_void_p()
    if library.nvmlInit_v2() or library.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(handle)):
        raise SystemExit("NVML does not start, or knows no GPU")
    return handle


def _questions(library: ctypes.CDLL) -> list[Callable[[], int | None]]:
    handle = _gpu(library)
    small, large = ctypes.c_uint(), ctypes.c_ulonglong()

    def ask(name: str, *before: int, wide: bool = False) -> Callable[[], int | None]:
        answer = large if wide else small
        function = getattr(library, name)

        def asked() -> int | None:
            words = [ctypes.c_int(word) for word in before]
            return None if function(handle, *words, ctypes.byref(answer)) else int(answer.value)

        return asked

    return [
        ask("nvmlDeviceGetTemperature", _GPU_SENSOR),
        ask("nvmlDeviceGetPowerUsage"),
        ask("nvmlDeviceGetTotalEnergyConsumption", wide=True),
        ask("nvmlDeviceGetClockInfo", _GRAPHICS_CLOCK),
    ]


def main(arguments: list[str]) -> int:
    """Log until standard input ends."""
    path, seconds = Path(arguments[0]), float(arguments[1]) if len(arguments) > 1 else 0.5
    questions = _questions(_library())
    with path.open("a", encoding="ascii") as file:
        while not select.select([sys.stdin], [], [], seconds)[0]:
            answers = ["-" if answer is None else str(answer) for answer in (ask() for ask in questions)]
            print(f"{time.monotonic():.3f}", *answers, file=file, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
