# SPDX-License-Identifier: Apache-2.0
"""The part of ``edged top`` about heat, clocks and power. What is unknown is left out."""

from __future__ import annotations

import time

from msgspec import UNSET
from rich.console import RenderableType
from rich.text import Text

from edged.messages import Thermal
from edged.messages_thermal import ClockSpeed, SensorValue

_MOST = 8
_MEMORY = {"gpu": "GPU memory", "unified": "memory (shared by GPU and CPU)", "host": "host memory"}


def heat_lines(thermal: Thermal, now: float | None = None) -> list[RenderableType]:
    """A line for each thing that is known.

    Args:
        thermal: as received.
        now: Unix seconds; default: the message's own time.
    """
    texts = [
        ("heat    ", _temperatures(thermal.sensors)),
        ("clocks  ", _clocks(thermal.clocks)),
        ("power   ", _power(thermal)),
        ("memory  ", _memory(thermal)),
        ("fans    ", _fans(thermal.sensors)),
    ]
    lines: list[RenderableType] = [Text(plain(head + text)) for head, text in texts if text]
    at = thermal.at if now is None else now
    for each in thermal.throttle:
        since = _time_of_day(each.since)
        text = f"held back by {each.cause} since {since} ({max(0.0, at - each.since):.0f} s): {each.evidence}"
        lines.append(Text(plain(text), style="bold red"))
    if thermal.fallen is not UNSET:
        fallen = thermal.fallen
        causes = "; ".join(f"{cause.cause} ({cause.evidence})" for cause in fallen.causes)
        text = f"throughput fell from {fallen.best_hz:.1f}/s to {fallen.now_hz:.1f}/s: {causes}"
        lines.append(Text(plain(text), style="yellow"))
    if thermal.governor is not UNSET and thermal.governor.mode != "off":
        governor = thermal.governor
        text = f"governor {governor.mode}s, level {governor.level} of {governor.lowest}: {governor.doing}"
        lines.append(Text(plain(text), style="yellow" if governor.level else ""))
    if thermal.unknown:
        names = ", ".join(f"{each.kind} {each.name} ({each.reason})" for each in thermal.unknown[:_MOST])
        lines.append(Text(plain(f"unknown  {names}"), style="dim"))
    return lines


def plain(text: str) -> str:
    """A text without control characters, whoever sent it."""
    return text if text.isprintable() else "".join(char if char.isprintable() else "?" for char in text)


def _time_of_day(at: float) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(at))
    except (OverflowError, OSError, ValueError):  # beyond all calendars
        return "?"


def _temperatures(sensors: list[SensorValue]) -> str:
    margins = {sensor.name: sensor.value for sensor in sensors if sensor.kind == "margin"}
    found = [sensor for sensor in sensors if sensor.kind == "temperature"]
    hottest = sorted(found, key=lambda sensor: -sensor.value)[:_MOST]
    texts = [
        f"{sensor.name} {sensor.value:.0f} °C"
        + (f" ({margins[sensor.name]:.0f} to the limit)" if sensor.name in margins else "")
        for sensor in hottest
    ]
    texts += [
        f"{name} {value:.0f} °C to the limit"
        for name, value in margins.items()
        if name not in {sensor.name for sensor in hottest}
    ]
    return ", ".join(texts + ([f"{len(found) - _MOST} cooler"] if len(found) > _MOST else []))


def _clocks(clocks: list[ClockSpeed]) -> str:
    """GPU clocks one by one, CPU clocks together."""
    cpus = [clock for clock in clocks if clock.name.startswith("cpu")]
    texts = [_clock(clock) for clock in clocks if not clock.name.startswith("cpu")]
    if cpus:
        slowest, fastest = min(clock.hz for clock in cpus), max(clock.hz for clock in cpus)
        texts.append(f"{len(cpus)} CPU clocks {slowest / 1e9:.2f} to {fastest / 1e9:.2f} GHz")
    return ", ".join(texts)


def _clock(clock: ClockSpeed) -> str:
    most = clock.allowed_hz if clock.allowed_hz is not UNSET else clock.hardware_hz
    of = "" if most is UNSET else f" of {most / 1e6:.0f}"
    return f"{clock.name} {clock.hz / 1e6:.0f}{of} MHz"


def _power(thermal: Thermal) -> str:
    if thermal.power_w is UNSET:
        return ""
    limit = "" if thermal.power_limit_w is UNSET else f" of {thermal.power_limit_w:.0f}"
    mode = "" if thermal.power_mode is UNSET else f", mode {thermal.power_mode}"
    return f"{thermal.power_w:.1f}{limit} W{mode}"


def _memory(thermal: Thermal) -> str:
    if thermal.memory is UNSET:
        return ""
    memory = thermal.memory
    what = _MEMORY.get(memory.kind, memory.kind)
    return f"{memory.used / 1e9:.1f} of {memory.total / 1e9:.1f} GB {what}"


def _fans(sensors: list[SensorValue]) -> str:
    texts = [f"{sensor.name} driven at {sensor.value:.0%}" for sensor in sensors if sensor.kind == "fan"]
    texts += [f"{sensor.name} {sensor.value:.0f} rpm" for sensor in sensors if sensor.kind == "fan_speed"]
    return ", ".join(texts)
