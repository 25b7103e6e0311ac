# SPDX-License-Identifier: Apache-2.0
"""``daemon.profile`` with the whole daemon: every stage is a range, in the process that does it."""

from __future__ import annotations

import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.daemon import predictions
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, strange_lines

FAKE = Path(__file__).parents[1] / "support" / "fake_nvtx"
FRAMES = 30
SOURCES = [{"name": "north", "uri": f"synthetic://shapes?frames={FRAMES}", "mode": "lossless"}]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a stand-in for the nvtx package, which is on the path from now on, notes the ranges of each process."""
    before = [os.environ["PYTHONPATH"]] if "PYTHONPATH" in os.environ else []
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(FAKE), *before]))
    monkeypatch.setenv("FAKE_NVTX_FOLDER", str(tmp_path))
    return tmp_path


def begun(path: Path) -> Counter[str]:
    """How often each range of a process was begun; every one was ended, too."""
    depth, found = 0, Counter[str]()
    for line in path.read_text().splitlines():
        domain, what, *more = line.split()
        assert domain == "edged"
        depth += 1 if what == "begin" else -1
        assert depth in (0, 1), "the stages of a process follow one another"
        found.update(more[:1])
    assert depth == 0
    return found


def test_every_stage_is_a_range_in_its_own_process(daemons: StartDaemon, folder: Path) -> None:
    daemon = daemons({"daemon": {"profile": True}, "sources": SOURCES, "publish": {"wait_for_subscribers": 1}})
    with daemon.start().subscriber("v1/predictions/") as subscriber:
        received = [message for _, message in zip(range(FRAMES), predictions(subscriber), strict=False)]
        assert len(received) == FRAMES
        roles = {role: daemon.children(role)[0] for role in ("capture", "infer", "publish") if daemon.children(role)}
        assert daemon.stop().code == 0
    capture, infer, publish = sorted((begun(path) for path in folder.iterdir()), key=_order)
    assert (capture["fit"], capture["hand-over"]) == (FRAMES, FRAMES)
    assert capture["decode"] >= FRAMES
    assert (infer["submit"], infer["deliver"]) == (FRAMES, FRAMES)
    assert infer["collate"] >= FRAMES
    assert (publish["postprocess"], publish["send"]) == (FRAMES, FRAMES)
    assert publish["take"] >= FRAMES
    assert {str(pid) for pid in roles.values()} <= {path.name for path in folder.iterdir()}
    assert_ended_clean(daemon)


def _order(found: Counter[str]) -> int:
    return ("decode" in found, "submit" in found, "send" in found).index(True)


def test_off_nothing_is_noted(daemons: StartDaemon, folder: Path) -> None:
    daemon = daemons({"sources": SOURCES}, ["--exit-when-done"]).start()
    assert daemon.wait(30) == 0
    assert list(folder.iterdir()) == []


@pytest.mark.skipif(find_spec("nvtx") is not None, reason="the nvtx package is installed")
def test_without_the_package_the_line_names_the_extra(daemons: StartDaemon) -> None:
    daemon = daemons({"sources": SOURCES}, ["--daemon.profile", "true"]).start()
    assert daemon.wait(30) == 78
    (line,) = strange_lines(daemon)
    assert line.startswith("edged: daemon.profile: the nvtx package is not installed; pip install 'edged[profile]'")
