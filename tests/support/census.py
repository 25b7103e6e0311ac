# SPDX-License-Identifier: Apache-2.0
"""What a family of processes holds at a moment, seen from outside: processes, threads, descriptors, shared memory."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from support.daemon import Daemon, command_line, family_of
from support.traces import resident_bytes


class Census(NamedTuple):
    """Counts at one moment. Two of a daemon that is at rest are equal, unless something was leaked in between.

    Attributes:
        processes: by name (``supervisor``, ``infer``, ``capture:north``, …): how many there are.
        threads: by name of the process.
        descriptors: by name of the process.
        memory_files: anonymous memory files that any of them holds open.
        zombies: children that have ended and were not reaped.
        named: files in /dev/shm of edged's.
    """

    processes: dict[str, int]
    threads: dict[str, int]
    descriptors: dict[str, int]
    memory_files: int
    zombies: int
    named: int


def pids_by_name(daemon: Daemon) -> dict[str, list[int]]:
    """Process ids of a daemon's family, by name."""
    found = {"supervisor": [daemon.process.pid]}
    for pid in family_of(daemon.process.pid):
        words = command_line(pid)
        if len(words) >= 5:
            role, name = words[-5], words[-4]
            found.setdefault(f"capture:{name}" if role == "capture" else role, []).append(pid)
    return found


def take_census(daemon: Daemon) -> Census:
    """Look at a running daemon. A process that ends meanwhile counts for nothing."""
    processes: dict[str, int] = {}
    threads: dict[str, int] = {}
    descriptors: dict[str, int] = {}
    files: set[int] = set()
    for name, pids in pids_by_name(daemon).items():
        for pid in pids:
            try:
                tasks, open_files, memory = len(os.listdir(f"/proc/{pid}/task")), *_descriptors(pid)
            except (FileNotFoundError, ProcessLookupError):
                continue
            processes[name] = processes.get(name, 0) + 1
            threads[name] = threads.get(name, 0) + tasks
            descriptors[name] = descriptors.get(name, 0) + open_files
            files |= memory
    named = sum("edged" in entry.name for entry in Path("/dev/shm").iterdir())
    return Census(processes, threads, descriptors, len(files), _zombies(daemon.process.pid), named)


def resident_mb(daemon: Daemon) -> dict[str, float]:
    """Resident memory of each process, MB, its share of the rings included."""
    return {name: sum(map(resident_bytes, pids)) / 1e6 for name, pids in pids_by_name(daemon).items()}


def _descriptors(pid: int) -> tuple[int, set[int]]:
    """How many descriptors a process has, and the inodes of the memory files among them."""
    count, memory = 0, set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        link = f"/proc/{pid}/fd/{entry}"
        try:
            target, inode = os.readlink(link), os.stat(link).st_ino
        except FileNotFoundError:
            continue
        count += 1
        if target.startswith("/memfd:"):
            memory.add(inode)
    return count, memory


def _zombies(parent: int) -> int:
    """Children of a process that have ended and wait to be reaped."""
    found = 0
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                after_name = (entry / "stat").read_text(errors="replace").rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue
            found += after_name[:2] == ["Z", str(parent)]
    return found
