# SPDX-License-Identifier: Apache-2.0
"""/proc/meminfo and the limits of the control groups around this process."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import NamedTuple

from edged.doctor.machine import Machine

_KIB = 1024
_UNLIMITED = 1 << 60


class Memory(NamedTuple):
    """Bytes."""

    total: int
    available: int
    swap_total: int
    swap_free: int


def memory(machine: Machine) -> Memory | None:
    """What the machine has; None where it does not tell."""
    text = machine.text("/proc/meminfo") or ""
    found = {name: int(value) * _KIB for name, value in re.findall(r"^(\w+):\s+(\d+) kB", text, re.MULTILINE)}
    if "MemTotal" not in found:
        return None
    available = found.get("MemAvailable", found.get("MemFree", 0))
    return Memory(found["MemTotal"], available, found.get("SwapTotal", 0), found.get("SwapFree", 0))


def group_limit(machine: Machine, controller: str, name: str, name_v1: str = "") -> tuple[int, str] | None:
    """The tightest limit of the control groups around this process, and the file that sets it; None for none.

    Args:
        machine: where to look.
        controller: for version 1, for example ``memory``.
        name: of the file, for example ``memory.max``; its first word counts.
        name_v1: the same in version 1.
    """
    found: list[tuple[int, str]] = []
    for line in (machine.text("/proc/self/cgroup") or "").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            base, file = "/sys/fs/cgroup", name
        elif controller in controllers.split(",") and name_v1:
            base, file = f"/sys/fs/cgroup/{controllers}", name_v1
        else:
            continue
        group = PurePosixPath("/" + path.strip("/"))
        for folder in (group, *group.parents):
            place = f"{base}{str(folder).rstrip('/')}/{file}"
            limit = _limit(machine.text(place))
            if limit is not None:
                found.append((limit, place))
    return min(found, default=None)


def _limit(text: str | None) -> int | None:
    word = (text or "").split()[0] if text else ""
    if not word.isdigit() or int(word) >= _UNLIMITED:
        return None
    return int(word)
