# SPDX-License-Identifier: Apache-2.0
"""What every process of the daemon holds, read from /proc, and what becomes of it over time."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tools.bench import harness

_SETTLED = 0.2
LONGEST_WARM_UP_S = 600.0


class Holding(NamedTuple):
    """What one process holds at one moment.

    Attributes:
        at_s: seconds since the run began.
        name: of the process, for example ``capture:north``.
        pid: of the process.
        resident_mb: resident memory but the rings, MB.
        descriptors: open ones.
        threads: of them.
        shared_mb: anonymous shared files that it has mapped, MB.
    """

    at_s: float
    name: str
    pid: int
    resident_mb: float
    descriptors: int
    threads: int
    shared_mb: float


class Trend(NamedTuple):
    """What became of a process that lived from the end of the warm-up to the end of the run.

    Attributes:
        name: of the process.
        slope_mb_per_h: of its resident memory, by least squares.
        resident_mb: at the end.
        descriptors: lowest and highest count at rest.
        threads: likewise.
        shared_mb: likewise.
    """

    name: str
    slope_mb_per_h: float
    resident_mb: float
    descriptors: tuple[int, int]
    threads: tuple[int, int]
    shared_mb: tuple[float, float]

    @property
    def constant(self) -> bool:
        """Whether what is counted stayed as it was."""
        return all(low == high for low, high in (self.descriptors, self.threads, self.shared_mb))


def holdings(daemon: harness.Daemon, at_s: float) -> list[Holding]:
    """What every process holds now; one that ends meanwhile is left out."""
    found = []
    for name, pid in harness.family(daemon).items():
        try:
            memory = harness.memory_of(pid)
            descriptors, threads = len(os.listdir(f"/proc/{pid}/fd")), len(os.listdir(f"/proc/{pid}/task"))
            shared = _mapped_mb(pid)
        except (FileNotFoundError, ProcessLookupError):
            continue
        found.append(Holding(at_s, name, pid, memory.resident, descriptors, threads, shared))
    return found


def trends(series: Sequence[Holding], *, warm_up_s: float, guests: Sequence[str]) -> list[Trend]:
    """What became of each process after the warm-up.

    Args:
        series: all readings, each taken while the same settings held.
        warm_up_s: seconds at the beginning of each process that do not count.
        guests: processes that come and go as they should.
    """
    kept: dict[tuple[str, int], list[Holding]] = {}
    # Those of the beginning are not read right away.
    born: dict[int, float] = {each.pid: 0.0 for each in series if each.at_s == series[0].at_s}
    for each in series:
        if each.at_s >= born.setdefault(each.pid, each.at_s) + warm_up_s and each.name not in guests:
            kept.setdefault((each.name, each.pid), []).append(each)
    return [_trend(name, found) for (name, _), found in kept.items() if len(found) > 2]


def warm_up_of(seconds: float) -> float:
    """How much of a run is warm-up, seconds: a fifth, at most ten minutes."""
    return min(LONGEST_WARM_UP_S, seconds * _SETTLED)


def _trend(name: str, found: Sequence[Holding]) -> Trend:
    hours = np.array([each.at_s for each in found]) / 3600
    slope = float(np.polyfit(hours, np.array([each.resident_mb for each in found]), 1)[0])
    descriptors = [each.descriptors for each in found]
    threads = [each.threads for each in found]
    shared = [round(each.shared_mb, 3) for each in found]
    return Trend(
        name,
        slope,
        found[-1].resident_mb,
        (min(descriptors), max(descriptors)),
        (min(threads), max(threads)),
        (min(shared), max(shared)),
    )


def _mapped_mb(pid: int) -> float:
    """Anonymous shared files that a process has mapped, each counted once, MB."""
    sizes: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        words = line.split()
        if len(words) > 5 and words[5].startswith("/memfd:"):
            low, high = (int(word, 16) for word in words[0].split("-"))
            sizes[f"{words[4]} {words[2]}"] = high - low
    return sum(sizes.values()) / 1e6
