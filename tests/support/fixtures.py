# SPDX-License-Identifier: Apache-2.0
"""Fixtures for tests that run the daemon: end_to_end/ and faults/."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from support.daemon import Daemon

StartDaemon = Callable[..., Daemon]


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path is short enough for a socket (107 bytes), unlike pytest's."""
    folder = Path(tempfile.mkdtemp(prefix="edged-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def daemons(short_folder: Path) -> Iterator[StartDaemon]:
    """Makes daemons (``daemons(settings, arguments)``) and destroys them with everything they started."""
    made: list[Daemon] = []

    def make(settings: Mapping[str, Any] | None = None, arguments: Sequence[str] = ()) -> Daemon:
        folder = short_folder / str(len(made))
        folder.mkdir()
        made.append(Daemon(folder, settings or {}, arguments))
        return made[-1]

    yield make
    for daemon in made:
        daemon.destroy()
