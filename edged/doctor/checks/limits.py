# SPDX-License-Identifier: Apache-2.0
"""Limits set for this process: descriptors, locked memory, control groups."""

from __future__ import annotations

import re

from edged.doctor.check import Check
from edged.doctor.finding import CONFIGURATION, Outcome, SkippedError, ok, problem, warning
from edged.doctor.machine import Machine
from edged.doctor.meminfo import group_limit
from edged.doctor.needs import MIB, needs
from edged.doctor.situation import Situation

_UNIT = "sudo systemctl edit edged  # and write [Service] {}"
_FEWEST_DESCRIPTORS = 160
_THREADS_OF_A_PROCESS = 16
_LEAST_MIB = 512


def _soft_limit(machine: Machine, name: str) -> tuple[float, str]:
    """A soft limit of this process, and its line.

    Raises:
        SkippedError: the kernel does not tell.
    """
    found = re.search(rf"^{name}\s+(\S+).*$", machine.text("/proc/self/limits") or "", re.MULTILINE)
    if found is None:
        raise SkippedError("/proc/self/limits does not tell")
    line = " ".join(found[0].split())
    return (float("inf") if found[1] == "unlimited" else float(found[1])), f"/proc/self/limits: {line}"


def _descriptors(situation: Situation) -> Outcome:
    limit, line = _soft_limit(situation.machine, "Max open files")
    settings = situation.known_settings
    wanted = _FEWEST_DESCRIPTORS if settings is None else needs(settings).descriptors
    if limit >= wanted:
        return ok(f"{limit:g} open files allowed, about {wanted} needed", [line])
    return problem(
        f"{limit:g} open files are allowed, about {wanted} are needed",
        [line],
        [_UNIT.format("LimitNOFILE=4096"), "in a shell: ulimit -n 4096"],
    )


FILE_DESCRIPTORS = Check("file-descriptors", "how many files a process may have open", CONFIGURATION, _descriptors)


def _memlock(situation: Situation) -> Outcome:
    situation.need_gpu()
    wanted = needs(situation.settings()).ring_bytes
    limit, line = _soft_limit(situation.machine, "Max locked memory")
    evidence = [line, f"rings: {wanted // MIB} MiB"]
    if limit >= wanted:
        return ok(f"the rings' {wanted // MIB} MiB may be locked", evidence)
    return warning(
        f"{limit / MIB:g} MiB may be locked, the rings have {wanted // MIB} MiB: frames may be copied once more",
        evidence,
        [_UNIT.format("LimitMEMLOCK=infinity"), "in a shell: ulimit -l unlimited"],
    )


MEMLOCK = Check("memlock", "how much memory may be page-locked for the GPU", CONFIGURATION, _memlock)


def _cgroup(situation: Situation) -> Outcome:
    machine = situation.machine
    settings = situation.known_settings
    need = None if settings is None else needs(settings)
    bytes_wanted = _LEAST_MIB * MIB if need is None else need.host_bytes
    tasks_wanted = (4 if need is None else need.processes) * _THREADS_OF_A_PROCESS
    limits = (
        ("memory", group_limit(machine, "memory", "memory.max", "memory.limit_in_bytes"), bytes_wanted, MIB, "MiB"),
        ("tasks", group_limit(machine, "pids", "pids.max", "pids.max"), tasks_wanted, 1, "tasks"),
    )
    evidence, tight, remedy = [], [], []
    for what, found, wanted, unit, word in limits:
        if found is None:
            continue
        limit, place = found
        evidence.append(f"{place}: {limit // unit} {word}")
        if limit < wanted:
            tight.append(f"{limit // unit} {word} (about {wanted // unit} are needed)")
            remedy.append(_UNIT.format("MemoryMax=infinity" if what == "memory" else "TasksMax=512"))
    if not tight:
        return ok("; ".join(evidence) or "no limit", evidence)
    flags = "in a container: a higher --memory and --pids-limit"
    return problem(f"this control group is limited to {' and '.join(tight)}", evidence, [*remedy, flags])


CGROUP = Check("cgroup", "limits of the control group: memory, tasks", CONFIGURATION, _cgroup)
