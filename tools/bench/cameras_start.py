# SPDX-License-Identifier: Apache-2.0
"""Cameras that are absent when the daemon starts, and cameras that refuse the login."""

from __future__ import annotations

import argparse
import re
import time
from pathlib import Path

from support.camera_rig import settings_of
from support.cameras import Camera, CameraServer
from support.proxy import FINE, Weather

from tools.bench.cameras_rig import (
    NAMES,
    OTHERS,
    SETTLE_S,
    VICTIM,
    WAIT_S,
    Film,
    Scene,
    add_end,
    add_others,
    four_cameras,
    scene,
)
from tools.bench.report import Report

_READY = re.compile(r"ready after ([0-9.]+) s")
_REFUSED_S = 30.0
_FIRST_S = 5.0
_LATER_START_S = 0.5
_MOST_TRIES = 6


def _ready_after(each: Scene) -> float:
    """How long the daemon took until it was ready, as it says itself (seconds)."""
    each.daemon.wait_for_log("ready after")
    found = _READY.search(each.daemon.output)
    assert found is not None
    return float(found[1])


def measure_absent(_arguments: argparse.Namespace, report: Report, folder: Path, film: Film) -> None:
    """A camera that is not there at the start and comes later, against a start with all of them."""
    with four_cameras(film) as made:
        with scene(folder, made) as normal:
            usual = _ready_after(normal)
            normal.watch.wait_for_all(NAMES, 0, WAIT_S)
            normal.daemon.stop()
        made[VICTIM].proxy.set(Weather(refuse=True))
        with scene(folder, made) as lacking:
            took = _ready_after(lacking)
            lacking.watch.wait_for_all(OTHERS, 0, WAIT_S)
            lacking.watch.record(SETTLE_S)
            start = time.monotonic()
            lacking.watch.record(10.0)
            made[VICTIM].proxy.set(FINE)
            there = time.monotonic()
            first = lacking.watch.until_back(VICTIM, there, WAIT_S)
            report.add("absent: ready, all cameras there", usual, "s")
            report.add("absent: ready, one not there", took, "s", at_most=usual + _LATER_START_S)
            report.add("absent: first prediction once it is there", first, "s", at_most=_FIRST_S)
            add_others(report, lacking, "absent", start)
            add_end(report, lacking, "absent")


def measure_refused(_arguments: argparse.Namespace, report: Report, folder: Path, film: Film) -> None:
    """A camera that refuses the login: how often it is tried, and how often that is said."""
    server = CameraServer(film.path, login=("viewer", "right"))
    camera = Camera(VICTIM, server)
    try:
        with four_cameras(film) as made:
            settings = settings_of([made[name] for name in OTHERS])
            settings["sources"].append(camera.source("viewer:wrong"))
            with scene(folder, {name: made[name] for name in OTHERS}, settings) as each:
                each.watch.wait_for_all(OTHERS, 0, WAIT_S)
                each.watch.record(SETTLE_S)
                start = time.monotonic()
                each.watch.record(_REFUSED_S - SETTLE_S)
                said = [event for event in each.watch.events if event.source == VICTIM and event.severity != "info"]
                report.add(
                    f"refused: connections in {_REFUSED_S:g} s", camera.proxy.accepted, at_least=1, at_most=_MOST_TRIES
                )
                report.add("refused: times it is said", len(said), at_least=1, at_most=1)
                report.details["refused: what is said"] = [event.text for event in said]
                add_others(report, each, "refused", start)
                add_end(report, each, "refused")
    finally:
        camera.proxy.close()
        server.kill()
