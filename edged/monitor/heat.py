# SPDX-License-Identifier: Apache-2.0
"""From a reading to the few figures that the ledger keeps and the governor looks at."""

from __future__ import annotations

from statistics import fmean

from edged.monitor.causes_evidence import HELD, Level, between, compute_clocks
from edged.monitor.governor.state import Heat
from edged.monitor.readings import Cause, Reading

_SHARE = 0.05
"""Of the time between two readings from which on a cause held the device back."""


def gauges(reading: Reading | None) -> dict[str, float | None]:
    """What the ledger keeps of a reading; see `edged.monitor.ledger.sample.GAUGES`. What is unknown is None."""
    if reading is None:
        return {}
    clocks = {clock.name: clock.hertz for clock in reading.clocks}
    gpu = [value for name, value in compute_clocks(clocks).items() if name.startswith("gpu")]
    cpu = [value for name, value in clocks.items() if name.startswith("cpu")]
    memory = clocks.get("gpu-memory")
    temperature, margin = _critical(reading)
    return {
        "temperature_c": temperature,
        "margin_c": margin,
        "gpu_clock_mhz": max(gpu) / 1e6 if gpu else None,
        "memory_clock_mhz": None if memory is None else memory / 1e6,
        "cpu_clock_mhz": fmean(cpu) / 1e6 if cpu else None,
        "power_w": reading.power_w,
    }


def heat_of(at_s: float, reading: Reading | None, levels: dict[Cause, Level], p99_ms: float | None) -> Heat:
    """What the governor looks at.

    Args:
        at_s: now, monotonic seconds.
        reading: the newest; None where nothing is known.
        levels: what was at work between it and the one before.
        p99_ms: see `edged.monitor.governor.state.Heat`.
    """
    throttled = levels.get(Cause.THERMAL, Level()).share >= _SHARE
    temperature, margin = (None, None) if reading is None else _critical(reading)
    if margin is None:
        return Heat(at_s, temperature, None, throttled, p99_ms)
    if temperature is None:
        return Heat(at_s, -margin, 0.0, throttled, p99_ms)
    return Heat(at_s, temperature, temperature + margin, throttled, p99_ms)


def held_back(before: Reading | None, now: Reading | None, gap_s: float) -> dict[Cause, Level]:
    """What was at work between two readings; nothing where one of them is missing."""
    return {} if before is None or now is None else between(before, now, gap_s)


def causes_of(levels: dict[Cause, Level]) -> tuple[str, ...]:
    """Those that held the device back."""
    return tuple(cause.value for cause, level in levels.items() if cause in HELD and level.share >= _SHARE)


def _critical(reading: Reading) -> tuple[float | None, float | None]:
    """Temperature and margin of the part that is closest to slowing down, °C.

    Where NVML knows the GPU it is the GPU: other parts of such a machine have coolers of their own. Else the zone with
    the smallest margin. Without any margin, the hottest of all.
    """
    temperatures, margins = reading.values("temperature"), reading.values("margin")
    if "gpu" in temperatures or "gpu" in margins:
        return temperatures.get("gpu"), margins.get("gpu")
    if margins:
        name = min(margins, key=lambda each: margins[each])
        return temperatures.get(name), margins[name]
    return max(temperatures.values(), default=None), None
