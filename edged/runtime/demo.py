# SPDX-License-Identifier: Apache-2.0
"""``edged demo``: the real daemon on two synthetic sources, and a subscriber that shows what it publishes."""

from __future__ import annotations

import os
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib.resources import as_file, files
from pathlib import Path
from typing import TYPE_CHECKING

from edged.errors import InternalError
from edged.runtime.signals import StopSignal

if TYPE_CHECKING:
    from edged.config import Settings
    from edged.runtime.demo_view import DemoView

SOURCES = {"north": 1, "south": 2}
PICTURE = "edged-demo.png"
_FPS = 30


def run_demo(seconds: float, stop: StopSignal) -> int:
    """Run the demo.

    Args:
        seconds: how long; 0 for ever.
        stop: the request to stop.

    Returns:
        The exit code: 0 once predictions of every source were seen, or where it was stopped before.

    Raises:
        EdgedError: the daemon could not do its work, or nothing was received from it.
    """
    from edged.runtime.daemon import run_settings
    from edged.runtime.demo_view import DemoView
    from edged.runtime.logs import set_up_logging

    set_up_logging("warning", "text", sys.stderr, os.environ)
    with tempfile.TemporaryDirectory(prefix="edged-demo-") as folder, as_file(files("edged") / "assets") as assets:
        endpoint = f"ipc://{folder}/predictions.sock"
        settings = _settings(Path(folder), endpoint, assets / "shapes.toml")
        view = DemoView(endpoint, SOURCES, since_s=stop.since_s)
        # The supervisor needs the main thread; the view is a subscriber like any other.
        with ThreadPoolExecutor(1, "view") as pool:
            watching = pool.submit(_watch, view, seconds, stop)
            try:
                run_settings(settings, exit_when_done=False, stop=stop)
            finally:
                stop.request()
    cut_short = watching.result()
    if cut_short and not view.began:
        return 0
    missing = view.summarise(Path(PICTURE))
    if missing and not cut_short:
        raise InternalError(f"no prediction came from {' or '.join(missing)}", remedy="see the lines above")
    return 0


def _watch(view: DemoView, seconds: float, stop: StopSignal) -> bool:
    """Run the view; returns whether somebody asked for an end before the view had come to its own."""
    try:
        view.run(seconds, lambda: stop.requested)
        return stop.requested
    finally:
        # However the view ends, the daemon does not run on unseen.
        stop.request()


def _settings(folder: Path, endpoint: str, spec: Path) -> Settings:
    from edged.config import Settings

    sources = [{"name": name, "uri": f"synthetic://shapes?fps={_FPS}&seed={seed}"} for name, seed in SOURCES.items()]
    return Settings.model_validate(
        {
            "daemon": {"name": "demo", "state_dir": folder / "state"},
            "sources": sources,
            "model": {"spec": spec},
            "publish": {"bind": [endpoint], "wait_for_subscribers": 1},
            "http": {"bind": ""},
        }
    )
