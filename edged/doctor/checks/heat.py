# SPDX-License-Identifier: Apache-2.0
"""Temperature now, and whether something is slowed down for heat or power."""

from __future__ import annotations

import re
from pathlib import Path

from edged.doctor import smi
from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, ok, problem, skipped, warning
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation

_MILLI = 1000.0
_PLAUSIBLE_C = (-40.0, 150.0)
"""A sensor that is switched off reads −256 °C on some boards."""
_DEFAULT_TRIP_C = 95.0
_NEAR_C = 10.0
_COOL = "look at fan, dust and air; a Jetson: sudo nvpmodel -d cool; then watch it under load"
_REASONS = {
    0x08: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
"""Bits of NVML's clock event reasons that mean heat or a failing supply; a software power cap (0x4) is a setting."""
_OVERCURRENT = {"oc1": "under-voltage", "oc2": "average over-current", "oc3": "instantaneous over-current"}
_THROTTLE = re.compile(r"throttle-alert|hot-surface-alert|devfreq-.*gpu")
_TRIPS = ("passive", "hot", "critical")


def _temperature(situation: Situation) -> Outcome:
    machine = situation.machine
    near, reached, seen = [], [], []
    for zone in machine.glob("/sys/class/thermal/thermal_zone*"):
        name, degrees = machine.text(zone / "type") or zone.name, _degrees(machine, zone / "temp")
        if degrees is None:
            continue
        trip = _trip(machine, zone)
        line = f"{name} {degrees:g} °C (limit {trip:g} °C)"
        seen.append(line)
        if degrees >= trip:
            reached.append(line)
        elif degrees >= trip - _NEAR_C:
            near.append(line)
    gpu = smi.number(smi.query(situation, "temperature.gpu"), "temperature.gpu")
    if gpu is not None:
        seen.append(f"nvidia-smi: GPU {gpu:g} °C")
        if gpu >= _DEFAULT_TRIP_C - _NEAR_C:
            near.append(f"GPU {gpu:g} °C")
    if not seen:
        return skipped("no sensor tells a temperature")
    if reached:
        return problem(f"too hot: {', '.join(reached)}", seen, [_COOL])
    if near:
        return warning(f"near its limit: {', '.join(near)}", seen, [_COOL])
    return ok(max(seen, key=_shown_degrees), seen)


def _degrees(machine: Machine, path: Path) -> float | None:
    milli = machine.number(path)
    if milli is None or not _PLAUSIBLE_C[0] < milli / _MILLI < _PLAUSIBLE_C[1]:
        return None
    return milli / _MILLI


def _trip(machine: Machine, zone: Path) -> float:
    """The lowest temperature at which a zone does something about it, °C; fans (``active``) do not count."""
    found = [
        degrees
        for kind in sorted(zone.glob("trip_point_*_type"))
        if (machine.text(kind) or "") in _TRIPS
        and (degrees := _degrees(machine, kind.with_name(kind.name.replace("_type", "_temp")))) is not None
        and degrees > 0
    ]
    return min(found, default=_DEFAULT_TRIP_C)


def _shown_degrees(line: str) -> float:
    found = re.search(r"(-?[\d.]+) °C", line)
    return float(found[1]) if found else 0.0


TEMPERATURE = Check("temperature", "every temperature against its limit", CONFIGURATION, _temperature, 15.0)


def _throttling(situation: Situation) -> Outcome:
    machine = situation.machine
    known = bool(machine.glob("/sys/class/thermal/cooling_device*"))
    now, before = _cooling_devices(machine), _overcurrents(machine) + _core_counts(machine)
    for name in ("clocks_event_reasons.active", "clocks_throttle_reasons.active"):  # its name before driver 535
        reasons = smi.query(situation, name).get(name)
        if reasons is not None:
            known = True
            now += [f"GPU: {text} ({name} {reasons})" for bit, text in _REASONS.items() if int(reasons, 16) & bit]
            break
    remedy = [_COOL, "a supply that is too weak shows as over-current or power brake: use the board's own"]
    if now:
        return problem(f"slowed down now: {', '.join(now)}", now + before, remedy)
    if before:
        return warning("was slowed down since the last boot", before, remedy)
    if not known:
        return skipped("nothing here tells about throttling")
    return ok("nothing is slowed down", ["no cooling device of GPU or CPU is at work, no over-current was counted"])


def _cooling_devices(machine: Machine) -> list[str]:
    found = []
    for device in machine.glob("/sys/class/thermal/cooling_device*"):
        kind, state = machine.text(device / "type") or "", machine.number(device / "cur_state")
        if state and _THROTTLE.search(kind):
            found.append(f"{kind} (state {state} in {machine.shown(device)}/cur_state)")
    return found


def _overcurrents(machine: Machine) -> list[str]:
    """Over-current events since the last boot, of Jetsons."""
    found = []
    for path in machine.glob("/sys/class/hwmon/hwmon*/oc*_event_cnt"):
        count = machine.number(path)
        if count:
            name = path.name.split("_")[0]
            found.append(f"{_OVERCURRENT.get(name, name)} {count} times ({machine.shown(path)})")
    return found


def _core_counts(machine: Machine) -> list[str]:
    """Thermal events of x86 packages since the last boot."""
    counts = {
        machine.shown(path): count
        for path in machine.glob("/sys/devices/system/cpu/cpu*/thermal_throttle/package_throttle_count")
        if (count := machine.number(path))
    }
    if not counts:
        return []
    place = max(counts, key=counts.__getitem__)
    return [f"CPU package {counts[place]} times ({place})"]


THROTTLING = Check("throttling", "slowing down for heat or power, now and since boot", CONFIGURATION, _throttling, 25.0)
