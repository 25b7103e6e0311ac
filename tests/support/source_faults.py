# SPDX-License-Identifier: Apache-2.0
"""What can happen to a camera, and to the process that decodes it: how each fault begins, and how it is over."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from support.cameras import Camera, CameraServer
from support.daemon import Daemon
from support.proxy import FINE, Weather


@dataclass(frozen=True, slots=True)
class Fault:
    """One way for a camera to fail.

    Attributes:
        name: in reports.
        begin: called with the camera.
        heal: called with the camera and the film; returns when all is well again.
    """

    name: str
    begin: Callable[[Camera], None]
    heal: Callable[[Camera, Path], None]


def _weather(weather: Weather) -> Callable[[Camera], None]:
    return lambda camera: camera.proxy.set(weather)


def _fine(camera: Camera, _film: Path) -> None:
    camera.proxy.set(FINE)


def _reset(camera: Camera) -> None:
    camera.proxy.set(Weather(refuse=True))
    camera.proxy.reset()


def _kill_server(camera: Camera) -> None:
    assert camera.server is not None
    camera.server.kill()


def _new_server(camera: Camera, film: Path) -> None:
    assert camera.server is not None
    camera.connect(CameraServer(film, fps=camera.server.fps))


NETWORK = (
    Fault("black hole", _weather(Weather(swallow=True)), _fine),
    Fault("reset", _reset, _fine),
    Fault("slow drip", _weather(Weather(bytes_per_s=200)), _fine),
    Fault("server killed", _kill_server, _new_server),
    Fault("corrupted", _weather(Weather(damage=1.0)), _fine),
    Fault("frozen", _weather(Weather(freeze=True)), _fine),
)
"""Faults that last until they are healed."""

Strike = Callable[[Daemon, str], None]


def capture_of(daemon: Daemon, source: str) -> int:
    """Process id of a source's capture process; 0 while there is none, or more than one."""
    found = daemon.children("capture", source)
    return found[0] if len(found) == 1 else 0


def _signal(number: signal.Signals) -> Strike:
    return lambda daemon, source: os.kill(capture_of(daemon, source), number)


def _sicken(how: str) -> Strike:
    def strike(daemon: Daemon, source: str) -> None:
        (sick_folder(daemon.folder) / f"{how}.{source}").touch()

    return strike


def sick_folder(folder: Path) -> Path:
    """Where `sick_decoder.c` is told what to do, for a daemon in a folder."""
    return folder / "state" / "sick"


STRIKES: dict[str, Strike] = {
    "hangs in C": _sicken("HANG"),
    "crashes in C": _sicken("CRASH"),
    "stopped": _signal(signal.SIGSTOP),
    "SIGSEGV": _signal(signal.SIGSEGV),
}
"""What can befall a capture process. The first two need the library of `sick_decoder.c`."""


def replaced_after(daemon: Daemon, source: str, old: int, since_s: float, timeout_s: float) -> float:
    """Wait until a source's capture process is another one; returns how long after a moment that was (seconds).

    Raises:
        TimeoutError: it is not.
    """
    while True:
        now, pid = time.monotonic(), capture_of(daemon, source)
        if pid not in (0, old):
            return now - since_s
        if now - since_s > timeout_s:
            raise TimeoutError(f"the capture process of {source} was not replaced within {timeout_s:g} s")
        time.sleep(0.02)
