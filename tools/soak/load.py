# SPDX-License-Identifier: Apache-2.0
"""What the daemon has to do meanwhile: four sources, and settings that change."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from support.daemon import Daemon, toml

_MODEL = Path(__file__).resolve().parents[2] / "edged" / "assets" / "shapes.toml"
LIVE_FPS = 5.0


class Change(NamedTuple):
    """Settings to be read again.

    Attributes:
        name: what changes, for people.
        text: the settings file, whole.
        event: kind of the event that must follow.
    """

    name: str
    text: str
    event: str


def sources(clip: Path | None) -> list[dict[str, Any]]:
    """Four sources that differ in kind: live and lossless, drawn and decoded.

    Args:
        clip: a video to decode, or None.
    """
    video = f"file://{clip}" if clip is not None else "synthetic://shapes?seed=4"
    return [
        {"name": "north", "uri": f"synthetic://shapes?seed=1&fps={LIVE_FPS:g}"},
        {"name": "south", "uri": f"synthetic://shapes?seed=2&fps={2 * LIVE_FPS:g}", "max_age_ms": 300.0},
        {"name": "clip", "uri": video, "mode": "live", "loop": True, "fps": LIVE_FPS},
        {"name": "archive", "uri": video, "mode": "lossless", "loop": True, "fps": LIVE_FPS / 2},
    ]


def settings(clip: Path | None) -> dict[str, Any]:
    """Sections that differ from those of the tests' daemon."""
    return {"sources": sources(clip), "model": {"spec": str(_MODEL)}, "http": {"bind": "127.0.0.1:0"}}


def changes(daemon: Daemon, clip: Path | None) -> Iterator[Change]:
    """Changes without end: nothing new, a rate, a source more, a source less, a mistake."""
    plain = daemon.config.read_text()
    listed = toml({"sources": sources(clip)})
    assert listed in plain, "the settings are not what they were made from"
    slower = sources(clip)
    slower[0]["fps"] = LIVE_FPS / 2
    more = [*sources(clip), {"name": "guest", "uri": f"synthetic://shapes?seed=5&fps={LIVE_FPS / 2:g}"}]
    steps = [
        Change("nothing new", plain, "reloaded"),
        Change("another rate", plain.replace(listed, toml({"sources": slower})), "reloaded"),
        Change("a source more", plain.replace(listed, toml({"sources": more})), "reloaded"),
        Change("a mistake", plain.replace(listed, listed + 'nonsense = "yes"\n'), "reload-refused"),
        Change("all as it was", plain, "reloaded"),
    ]
    return itertools.cycle(steps)
