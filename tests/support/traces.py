# SPDX-License-Identifier: Apache-2.0
"""What a daemon leaves behind: processes, files, shared memory, and what it wrote to stderr."""

from __future__ import annotations

import re
from pathlib import Path

from support.daemon import Daemon

_LOG_LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +\S")
_OURS = {"edged.toml", "log.txt", "state"}


def strange_lines(daemon: Daemon) -> list[str]:
    """Lines on stderr or stdout that are no log lines: a traceback, a library's complaint, an error."""
    return [line for line in daemon.output.splitlines() if not _LOG_LINE.match(line)]


def assert_ended_clean(daemon: Daemon, *allowed: str) -> None:
    """Nothing is left of a daemon that was stopped: no process, socket, lock or shared memory, nothing odd in its log.

    Args:
        daemon: that has ended.
        allowed: files that the test itself put into its folder.
    """
    assert daemon.children() == []
    left = {entry.name for entry in daemon.folder.iterdir()} - _OURS - set(allowed)
    assert not left
    assert not [entry.name for entry in Path("/dev/shm").iterdir() if "edged" in entry.name]
    assert strange_lines(daemon) == []


def named_shared_memory(pids: list[int]) -> list[str]:
    """Files in /dev/shm that processes have mapped: these would outlive a kill, other than what edged is to use."""
    found = []
    for pid in pids:
        try:
            maps = Path(f"/proc/{pid}/maps").read_text(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        found += [line for line in maps.splitlines() if "/dev/shm/" in line]
    return found


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    match = re.search(r"^VmRSS:\s+(\d+) kB", status, re.MULTILINE)
    return int(match[1]) * 1024 if match else 0
