# SPDX-License-Identifier: Apache-2.0
"""A decoder that hangs inside C, one that crashes there, one that is stopped: when it is replaced, who else notices."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from support.camera_rig import differences, settled_census, sick_decoders, wait_for_census
from support.cameras import build_sick_decoder
from support.census import Census
from support.source_faults import STRIKES, capture_of, replaced_after

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

_REPLACED_S, _BACK_S = 2.0, 5.0
_REST_S = 5.0


def one_strike(each: Scene, how: str, before: Census) -> tuple[float, float, str]:
    """Strike the victim's decoder.

    Returns:
        Seconds until another process runs, seconds until a new prediction, and what was left behind.
    """
    old = capture_of(each.daemon, VICTIM)
    begin = time.monotonic()
    STRIKES[how](each.daemon, VICTIM)
    replaced = replaced_after(each.daemon, VICTIM, old, begin, WAIT_S)
    # A frame of the old process may still have been taken just after it was struck.
    back = each.watch.until_back(VICTIM, begin + replaced, WAIT_S) + replaced
    each.watch.until_steady(VICTIM, WAIT_S)
    after = wait_for_census(each.daemon, each.watch, before, _REST_S)
    return replaced, back, differences(before, after)


def measure_strikes(arguments: argparse.Namespace, report: Report, folder: Path, film: Film) -> None:
    """Many strikes in a row."""
    library = build_sick_decoder(folder)
    found: dict[str, list[tuple[float, float, str]]] = {}
    with four_cameras(film) as made, sick_decoders(library, folder), scene(folder, made) as each:
        each.watch.wait_for_all(NAMES, 0, WAIT_S)
        add_calm(report, each, "strikes")
        before = settled_census(each.daemon, each.watch)
        start = time.monotonic()
        for number in range(arguments.strikes):
            how = list(STRIKES)[number % len(STRIKES)]
            found.setdefault(how, []).append(one_strike(each, how, before))
            print(f"{number + 1:3} {how}: {found[how][-1]}", flush=True)
        for how, results in found.items():
            report.add(f"decoder {how} ({len(results)}): replaced after", Spread.of([each[0] for each in results]), "s")
            slowest = max(each[0] for each in results)
            report.add(f"decoder {how}: replaced, slowest", slowest, "s", at_most=_REPLACED_S)
            report.add(f"decoder {how}: back, slowest", max(each[1] for each in results), "s", at_most=_BACK_S)
        leaks = [each[2] for results in found.values() for each in results if each[2]]
        report.add("strikes: cases that left anything behind", len(leaks), at_most=0)
        report.details["strikes"] = found
        add_others(report, each, "strikes", start)
        add_end(report, each, "strikes")
