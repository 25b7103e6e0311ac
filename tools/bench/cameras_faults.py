# SPDX-License-Identifier: Apache-2.0
"""One camera's network fails, again and again, in every way: when it is seen, when it is back, what is left behind."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from support.camera_rig import differences, settled_census, wait_for_census
from support.census import Census, resident_mb
from support.source_faults import NETWORK, Fault

from tools.bench.cameras_rig import (
    NAMES,
    VICTIM,
    WAIT_S,
    Film,
    Scene,
    add_calm,
    add_end,
    add_others,
    four_cameras,
    scene,
)
from tools.bench.report import Report, Spread

_SEEN_S, _BACK_S = 2.0, 3.0
_REST_S = 5.0
_GROWTH_MB = 2.0
_WARM_CYCLES = 6
# A daemon begins to write its ledger with the first whole minute, from a thread that it has from then on.
_WARM_S = 130.0


class Cycle(NamedTuple):
    """One fault from its beginning to its end.

    Attributes:
        fault: which.
        seen_s: from its beginning until a subscriber knew.
        back_s: from its end until a prediction of a frame captured since was published.
        leak: what was held afterwards that was not held before; empty for nothing.
        state: what the subscriber was told.
        memory_mb: of each process afterwards.
    """

    fault: str
    seen_s: float
    back_s: float
    leak: str
    state: str
    memory_mb: dict[str, float]


def one_cycle(each: Scene, fault: Fault, film: Film, outage_s: float, before: Census) -> Cycle:
    """Let a fault happen, last and pass."""
    camera = each.cameras[VICTIM]
    begin = time.monotonic()
    fault.begin(camera)
    seen = each.watch.until_seen(VICTIM, begin, WAIT_S)
    change = each.watch.seen_after(VICTIM, begin)
    assert change is not None
    each.watch.record(outage_s)
    fault.heal(camera, film.path)
    back = each.watch.until_back(VICTIM, time.monotonic(), WAIT_S)
    each.watch.until_steady(VICTIM, WAIT_S)
    after = wait_for_census(each.daemon, each.watch, before, _REST_S)
    leak = differences(before, after)
    return Cycle(fault.name, seen, back, leak, f"{change.state}: {change.reason}", resident_mb(each.daemon))


def measure_faults(arguments: argparse.Namespace, report: Report, folder: Path, film: Film) -> None:
    """Many faults in a row."""
    with four_cameras(film) as made, scene(folder, made) as each:
        each.watch.wait_for_all(NAMES, 0, WAIT_S)
        add_calm(report, each, "faults")
        before = settled_census(each.daemon, each.watch)
        start = time.monotonic()
        cycles: list[Cycle] = []
        for number in range(arguments.cycles):
            cycle = one_cycle(each, NETWORK[number % len(NETWORK)], film, arguments.outage, before)
            print(f"{number + 1:3} {cycle[:5]}", flush=True)
            if cycle.leak and time.monotonic() - start < _WARM_S:
                before = settled_census(each.daemon, each.watch)
                report.details.setdefault("begun in the first minutes", []).append(cycle.leak)
                cycle = cycle._replace(leak="")
            cycles.append(cycle)
        _add_cycles(report, cycles)
        for fault in NETWORK[:2]:
            long = one_cycle(each, fault, film, arguments.long_outage, before)
            name = f"{fault.name} for {arguments.long_outage:g} s"
            report.add(f"{name}: back after", long.back_s, "s", at_most=_BACK_S)
        add_others(report, each, "faults", start)
        add_end(report, each, "faults")


def _add_cycles(report: Report, cycles: list[Cycle]) -> None:
    for fault in NETWORK:
        mine = [cycle for cycle in cycles if cycle.fault == fault.name]
        if mine:
            worst_seen, worst_back = max(each.seen_s for each in mine), max(each.back_s for each in mine)
            report.add(f"{fault.name} ({len(mine)}): seen after", Spread.of([each.seen_s for each in mine]), "s")
            report.add(f"{fault.name}: seen, slowest", worst_seen, "s", at_most=_SEEN_S)
            report.add(f"{fault.name}: back after", Spread.of([each.back_s for each in mine]), "s")
            report.add(f"{fault.name}: back, slowest", worst_back, "s", at_most=_BACK_S)
    leaks = [cycle.leak for cycle in cycles if cycle.leak]
    report.add("faults: cycles that left anything behind", len(leaks), at_most=0)
    for name, growth in growth_mb(cycles).items():
        report.add(f"faults: memory growth of {name}", growth, "MB", at_most=_GROWTH_MB)
    report.details["cycles"] = [cycle._asdict() for cycle in cycles]


def growth_mb(cycles: list[Cycle]) -> dict[str, float]:
    """How much the lasting processes grew: a line through what they held after each cycle, but the first ones."""
    settled = cycles[_WARM_CYCLES:]
    if len(settled) < 4:
        return {}
    found = {}
    for name in settled[0].memory_mb:
        if name != f"capture:{VICTIM}":
            held = [cycle.memory_mb.get(name, 0.0) for cycle in settled]
            slope = float(np.polyfit(np.arange(len(held)), held, 1)[0])
            found[name] = slope * len(held)
    return found
