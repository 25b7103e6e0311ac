# SPDX-License-Identifier: Apache-2.0
"""How much memory a build takes and may take, and what it does without when that was too little."""

from __future__ import annotations

import os
from pathlib import Path

from msgspec.structs import replace

from edged.engine.protocol import BuildRequest

MOST_THRIFT = 3
"""How often a build is tried once more with less."""
SHARE = 0.85
"""Of the free memory: the daemon that serves meanwhile must not be the one that the kernel ends."""
_LEAST_WORKSPACE_MB = 16
_MIB = 1 << 20
_PORTION = 256 * _MIB
_SHORT = (
    "bad_alloc",
    "bad allocation",
    "Failed to allocate memory",
    "Cannot allocate memory",
    "out of memory",
    "MemoryError",
)


def portion_bytes(request: BuildRequest) -> int:
    """Activations that calibration may hold at once."""
    return int(_PORTION) >> (2 * request.thrift)


def thrifty(request: BuildRequest) -> BuildRequest:
    """The request as it is carried out after memory ran out ``thrift`` times."""
    return replace(
        request,
        workspace_mb=max(_LEAST_WORKSPACE_MB, request.workspace_mb >> request.thrift),
        optimization_level=max(0, request.optimization_level - request.thrift),
    )


def sacrifices(request: BuildRequest) -> str:
    """What a request does without, in words."""
    less = thrifty(request)
    return (
        f"calibration in portions of {portion_bytes(request) // _MIB} MiB, workspace {less.workspace_mb} MiB, "
        f"optimisation level {less.optimization_level}"
    )


def is_shortage(error: BaseException) -> bool:
    """Whether an error says that memory ran out, whoever's words it has."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, MemoryError) or type(seen).__name__ == "GpuMemoryError":
            return True
        if any(words in str(seen) for words in _SHORT):
            return True
        seen = seen.__cause__
    return False


def limit_bytes(request: BuildRequest) -> int | None:
    """What the building process may take, bytes; None where nobody knows what is free."""
    if request.memory_mb is not None:
        return request.memory_mb * _MIB
    free = _available()
    return None if free is None else int(SHARE * free)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is its own (its anonymous pages), bytes; 0 where that cannot be told."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
        return (int(fields[1]) - int(fields[2])) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return 0


def kills_for_memory() -> int | None:
    """How many processes the kernel has ended for want of memory since it started; None where it does not tell."""
    return _counted(Path("/proc/vmstat"), "oom_kill")


def _available() -> int | None:
    """What the machine, or the container, still has."""
    free = _counted(Path("/proc/meminfo"), "MemAvailable:")
    found = [] if free is None else [free * 1024]
    try:
        limit = Path("/sys/fs/cgroup/memory.max").read_text().strip()
        used = Path("/sys/fs/cgroup/memory.current").read_text().strip()
        found.append(max(int(limit) - int(used), 0))
    except (OSError, ValueError):
        pass  # no such limit
    return min(found, default=None)


def _counted(path: Path, name: str) -> int | None:
    try:
        for line in path.read_text().splitlines():
            if line.startswith(f"{name} "):
                return int(line.split()[1])
    except (OSError, ValueError):
        return None
    return None
