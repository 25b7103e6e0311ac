# SPDX-License-Identifier: Apache-2.0
"""The other commands, as a user runs them."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import cv2
from support.daemon import wait_until
from support.fixtures import StartDaemon

from edged.runtime.demo import PICTURE


def edged(*arguments: str, folder: Path, timeout_s: float = 60.0) -> subprocess.CompletedProcess[str]:
    """Run a command in a folder."""
    command = [sys.executable, "-m", "edged", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=timeout_s)


def handles(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal."""
    caught = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


def test_the_demo_shows_predictions_and_draws_a_picture(tmp_path: Path) -> None:
    done = edged("demo", "--seconds", "1", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("north", "south", "circle", "predictions received", "edged tail --connect"):
        assert text in done.stdout
    picture = cv2.imread(str(tmp_path / PICTURE))
    assert picture is not None
    assert picture.shape == (480, 640, 3)
    assert [entry.name for entry in tmp_path.iterdir()] == [PICTURE]


def test_a_demo_that_is_stopped_before_it_shows_anything_ends_quietly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "edged", "demo"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # Its handler stands, and a prediction is more than a second away.
        wait_until(lambda: handles(process.pid, signal.SIGTERM), 10, "handlers")
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30) == ("", "")
    assert process.returncode == 0
    assert not list(tmp_path.iterdir())


def test_check_finds_nothing_wrong_with_good_settings(daemons: StartDaemon, tmp_path: Path) -> None:
    daemon = daemons()
    done = edged("check", "--config", str(daemon.config), folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    for text in ("daemon.name", daemon.endpoint, "edged.toml", "configuration ok"):
        assert text in done.stdout
    # It looks, but starts nothing.
    assert not (daemon.folder / "predictions.sock").exists()
