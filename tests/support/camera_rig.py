# SPDX-License-Identifier: Apache-2.0
"""What tests and benchmarks of cameras share: settings for them, sick decoders, and leaks over many cycles."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.cameras import Camera
from support.census import Census, take_census
from support.daemon import Daemon
from support.source_faults import sick_folder
from support.source_watch import SourceWatch


def settings_of(cameras: Sequence[Camera], **keys: Any) -> dict[str, Any]:
    """Settings of a daemon for cameras, live, one frame a batch.

    Args:
        cameras: its sources.
        keys: further keys of every source.
    """
    return {
        "sources": [camera.source(**keys) for camera in cameras],
        "engine": {"max_batch": 1},
        "publish": {"wait_for_subscribers": 1},
    }


@contextmanager
def sick_decoders(library: Path, folder: Path) -> Iterator[None]:
    """Daemons started meanwhile, in this folder, have decoders that can be made to hang and to crash."""
    sick_folder(folder).mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ |= {"LD_PRELOAD": str(library), "SICK_DECODER": str(sick_folder(folder))}
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def wait_for_census(daemon: Daemon, watch: SourceWatch, wanted: Census, timeout_s: float) -> Census:
    """Wait until a daemon holds what it held before.

    Returns:
        What it holds when it does, or in the end.
    """
    end = time.monotonic() + timeout_s
    while (now := take_census(daemon)) != wanted and time.monotonic() < end:
        watch.record(0.1)
    return now


def settled_census(daemon: Daemon, watch: SourceWatch, timeout_s: float = 10.0, still_s: float = 1.0) -> Census:
    """Wait until what a daemon holds has not changed for a while."""
    end = time.monotonic() + timeout_s
    census, since = take_census(daemon), time.monotonic()
    while time.monotonic() - since < still_s:
        assert time.monotonic() < end, f"never at rest: {census}"
        watch.record(0.1)
        now = take_census(daemon)
        if now != census:
            census, since = now, time.monotonic()
    return census


def differences(before: Census, after: Census) -> str:
    """What is not as it was, for people; empty where nothing changed."""
    found = []
    for field in Census._fields:
        old, new = getattr(before, field), getattr(after, field)
        if isinstance(old, dict):
            names = sorted(old.keys() | new.keys())
            found += [
                f"{field} of {each}: {old.get(each)} → {new.get(each)}"
                for each in names
                if old.get(each) != new.get(each)
            ]
        elif old != new:
            found.append(f"{field}: {old} → {new}")
    return ", ".join(found)
