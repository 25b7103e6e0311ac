# SPDX-License-Identifier: Apache-2.0
"""What the camera benchmarks share: four cameras, a daemon, and what the figures of the others are."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from support.camera_rig import settings_of
from support.cameras import REAL_VIDEO, Camera, cameras, make_film, missing
from support.source_watch import SourceWatch

from tools.bench import harness
from tools.bench.report import Report, Spread

FPS = 25
VICTIM = "victim"
OTHERS = ("first", "second", "third")
NAMES = (VICTIM, *OTHERS)
WAIT_S = 60.0
SETTLE_S = 3.0
CALM_S = 10.0
_EXACT = 0.002
_MOST_BUSY = 0.7


def cameras_missing() -> str:
    """Why there can be no cameras here; empty where there can."""
    return missing()


class Film(NamedTuple):
    """What the cameras play."""

    path: Path
    fps: int

    @classmethod
    def make(cls, folder: Path, width: int, height: int) -> Film:
        """Encode it."""
        video = REAL_VIDEO if REAL_VIDEO.is_file() else None
        return cls(make_film(folder / "film.mkv", (width, height), fps=FPS, count=250, video=video), FPS)


class Scene(NamedTuple):
    """A daemon with its cameras."""

    daemon: harness.Daemon
    watch: SourceWatch
    cameras: dict[str, Camera]


@contextmanager
def four_cameras(film: Film) -> Iterator[dict[str, Camera]]:
    """Four cameras by name; the victim has a server of its own."""
    with cameras(film.path, *NAMES, fps=film.fps) as made:
        yield {camera.name: camera for camera in made}


@contextmanager
def scene(folder: Path, made: dict[str, Camera], settings: dict[str, Any] | None = None) -> Iterator[Scene]:
    """A running daemon that a subscriber watches."""
    with (
        harness.running(folder, settings or settings_of(list(made.values()))) as daemon,
        SourceWatch(daemon) as watch,
    ):
        yield Scene(daemon, watch, made)


def add_calm(report: Report, scene: Scene, part: str) -> None:
    """While all is well: how the cameras do, and what share of all cores this takes, and what everybody else takes."""
    # A camera that was just opened hands over at once what it has sent meanwhile.
    scene.watch.record(SETTLE_S)
    begin, own, everybody = time.monotonic(), _cpu_s(scene), Busy()
    scene.watch.record(CALM_S)
    share = (_cpu_s(scene) - own) / (time.monotonic() - begin) / len(os.sched_getaffinity(0))
    report.add(f"{part}: share of all cores in use while all is well", share, at_most=_MOST_BUSY)
    report.add(f"{part}: share that others on the machine use", max(0.0, everybody.share() - share))
    paces = [scene.watch.pace(name, begin, time.monotonic() - 0.5) for name in OTHERS]
    report.add(f"{part}: rate while all is well", Spread.of([pace.rate_hz for pace in paces]), "frames/s")
    report.add(f"{part}: dropped while all is well", sum(pace.missing for pace in paces))


class Busy:
    """How much of all cores was busy since this was made, whoever used them."""

    def __init__(self) -> None:
        self._begin = self._read()

    def share(self) -> float:
        """0 to 1."""
        idle, total = (now - before for now, before in zip(self._read(), self._begin, strict=True))
        return 1.0 - idle / total if total else 0.0

    @staticmethod
    def _read() -> tuple[int, int]:
        words = [int(word) for word in Path("/proc/stat").read_text().splitlines()[0].split()[1:9]]
        return words[3] + words[4], sum(words)


def _cpu_s(scene: Scene) -> float:
    """CPU time of everybody who takes part, seconds."""
    servers = {camera.server.pid for camera in scene.cameras.values() if camera.server is not None}
    others = [*harness.family(scene.daemon).values(), *servers]
    return time.process_time() + sum(map(harness.cpu_s, others))


def add_others(report: Report, scene: Scene, part: str, start_s: float, names: Sequence[str] = OTHERS) -> None:
    """What the cameras did that nothing happened to, since a moment."""
    # What was captured a moment ago may not have been published yet.
    paces = [scene.watch.pace(name, start_s, time.monotonic() - 0.5) for name in names]
    report.add(
        f"{part}: rate of the others",
        Spread.of([pace.rate_hz for pace in paces]),
        "frames/s",
        at_least=FPS * (1 - _EXACT),
        at_most=FPS * (1 + _EXACT),
    )
    report.add(f"{part}: frames of the others", sum(pace.frames for pace in paces))
    report.add(f"{part}: of these dropped", sum(pace.missing for pace in paces), at_most=0)
    report.add(f"{part}: longest gap of the others", max(pace.longest_gap_s for pace in paces) * 1e3, "ms")
    report.details[f"{part}: others"] = {name: pace._asdict() for name, pace in zip(names, paces, strict=True)}


def add_end(report: Report, scene: Scene, part: str) -> None:
    """Stop, and compare what the subscriber counted with what the daemon says."""
    code = scene.daemon.stop().code
    scene.watch.until(lambda: scene.watch.stopping, WAIT_S, "good-bye")
    report.add(f"{part}: exit code", code, at_most=0)
    wrong = 0
    for name in scene.cameras:
        if name in scene.watch.predictions:
            try:
                scene.watch.assert_accounted(name)
            except AssertionError as error:
                print(f"not conserved: {error}")
                wrong += 1
    report.add(f"{part}: sources whose counts differ from the subscriber's", wrong, at_most=0)
    report.add(f"{part}: health messages, each of which adds up", len(scene.watch.healths), at_least=1)
