# SPDX-License-Identifier: Apache-2.0
"""Power mode and clocks that somebody has capped."""

from __future__ import annotations

import re
from pathlib import Path

from edged.doctor import smi
from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, ok, skipped, warning
from edged.doctor.machine import Machine
from edged.doctor.situation import Situation

_MODE = re.compile(r"^\s*<\s*POWER_MODEL\s+ID=(\d+)\s+NAME=(\S+?)\s*>", re.MULTILINE)
_UNCAPPED = float("inf")
_GPU_NODE = re.compile(r"^(gpu|ga10b|gv11b|gb10b)|\.(gpu|ga10b|gv11b|gb10b)$|^gpu-gpc")
_TOLERANCE = 0.99


def _power_mode(situation: Situation) -> Outcome:
    hardware = situation.machine.hardware()
    if hardware == "jetson":
        return _nvpmodel(situation.machine)
    situation.need_gpu()
    values = smi.query(situation, "power.limit", "power.default_limit")
    limit, default = smi.number(values, "power.limit"), smi.number(values, "power.default_limit")
    if limit is None or default is None:
        return skipped("nvidia-smi does not tell a power limit")
    evidence = [f"nvidia-smi: power.limit {limit:g} W, power.default_limit {default:g} W"]
    if limit < _TOLERANCE * default:
        return warning(
            f"the GPU is limited to {limit:g} W of {default:g} W",
            evidence,
            [f"sudo nvidia-smi --id={situation.device} --power-limit={default:g}"],
        )
    return ok(f"{limit:g} W, the default", evidence)


def _nvpmodel(machine: Machine) -> Outcome:
    status = re.search(r"pmode:(\d+)", machine.text("/var/lib/nvpmodel/status") or "")
    modes = {int(number): name for number, name in _MODE.findall(machine.text("/etc/nvpmodel.conf") or "")}
    if status is None or int(status[1]) not in modes:
        return skipped("neither /var/lib/nvpmodel/status nor /etc/nvpmodel.conf tells the power mode")
    now = int(status[1])
    # Not by number: on some boards the last mode is the slowest, on some the first.
    best = max(modes, key=lambda number: _watts(modes[number]))
    evidence = [
        f"/var/lib/nvpmodel/status: {status[0]} ({modes[now]})",
        f"/etc/nvpmodel.conf: {', '.join(f'{number}={name}' for number, name in sorted(modes.items()))}",
    ]
    if _watts(modes[now]) < _watts(modes[best]):
        return warning(f"power mode {modes[now]}; the fastest is {modes[best]}", evidence, [f"sudo nvpmodel -m {best}"])
    return ok(modes[now], evidence)


def _watts(name: str) -> float:
    """How much a mode allows, by its name: ``MODE_15W`` is 15, ``MAXN`` without bound."""
    if "MAXN" in name.upper():
        return _UNCAPPED
    found = re.search(r"(\d+)W", name.upper())
    return float(found[1]) if found else 0.0


POWER_MODE = Check("power-mode", "nvpmodel's mode, or the GPU's power limit", CONFIGURATION, _power_mode)


def _clocks(situation: Situation) -> Outcome:
    machine = situation.machine
    capped, seen, remedy = [], [], []
    for policy in machine.glob("/sys/devices/system/cpu/cpufreq/policy*"):
        top, most = machine.number(policy / "scaling_max_freq"), machine.number(policy / "cpuinfo_max_freq")
        if top is None or most is None:
            continue
        seen.append(f"{machine.shown(policy)}: {top // 1000} of {most // 1000} MHz")
        if top < _TOLERANCE * most:
            capped.append(f"CPU {policy.name} at {top // 1000} of {most // 1000} MHz")
            remedy.append(f"echo {most} | sudo tee {machine.shown(policy)}/scaling_max_freq")
    for device in machine.glob("/sys/class/devfreq/*"):
        line = _devfreq(machine, device)
        if line is None:
            continue
        top, most = line
        seen.append(f"{machine.shown(device)}: {top // 1_000_000} of {most // 1_000_000} MHz")
        if top < _TOLERANCE * most:
            capped.append(f"GPU {device.name} at {top // 1_000_000} of {most // 1_000_000} MHz")
            remedy.append(f"echo {most} | sudo tee {machine.shown(device)}/max_freq")
    if not seen:
        return skipped("neither cpufreq nor devfreq tells")
    if not capped:
        return ok(f"{len(seen)} clocks may go up to their maximum", seen)
    if machine.hardware() == "jetson":
        remedy.insert(0, "see power-mode first: a power mode caps clocks; then sudo jetson_clocks")
    return warning(f"capped: {', '.join(capped[:4])}", seen, remedy)


def _devfreq(machine: Machine, device: Path) -> tuple[int, int] | None:
    """Highest frequency allowed and possible of the GPU, Hz."""
    name = machine.text(device / "device/of_node/name") or device.name
    if not _GPU_NODE.search(name):
        return None
    possible = [int(word) for word in (machine.text(device / "available_frequencies") or "").split() if word.isdigit()]
    top = machine.number(device / "max_freq")
    return (top, max(possible)) if possible and top is not None else None


CLOCKS = Check("clocks", "whether clocks of CPU and GPU are capped", CONFIGURATION, _clocks)
