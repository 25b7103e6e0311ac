# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of builders at every moment: the store holds the old engine or the new one, and the next build works."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engines import FACTS, manifest

from edged.engine.shelf import Content, hold
from edged.engine.store import Found, Wanted, find, model_folder, read_current

SIZE = 2 << 20
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def folder() -> Iterator[Path]:
    """In memory where that is possible: only the order of changes matters here, not the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as name:
        yield Path(name)


def shelving(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "support.shelving", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    return subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    )


def check(state: Path) -> None:
    """Whatever is current is whole; looking again finds the same."""
    current = read_current(model_folder(state, "tiny")).engines
    assert set(current) <= {"tensorrt/fp16", "tensorrt/auto"}
    for name in current:
        precision = name.partition("/")[2]
        facts = {driver: manifest(b"", driver=driver).fields for driver in "01"}
        driver = next(driver for driver, key in facts.items() if key.digest() == current[name])
        here = type(FACTS)(runtime=FACTS.runtime, gpu=FACTS.gpu, compute_capability=(8, 7), driver=driver)
        found = find(state, Wanted("tiny", "m" * 64, "tensorrt", precision, here))
        assert isinstance(found, Found), found


def build_once_more(state: Path) -> None:
    """The next builder is not hindered, and leaves no trace of the killed one."""
    made = manifest(b"last", driver="0")
    with hold(state, "tiny") as shelf:
        shelf.put(made, Content(b"last"))
        shelf.make_current(made, chosen=True)
    check(state)
    names = {path.name for path in model_folder(state, "tiny").iterdir()}
    known = {manifest(b"", driver=driver).key for driver in "01"}
    assert names <= {"current.json", *known}
    assert made.key in names


def test_every_single_step_may_be_the_last(folder: Path) -> None:
    with shelving("sweep", folder, 1000) as sweeper:
        killed = int(sweeper.communicate(timeout=60)[0])
    assert killed >= 20, "three rounds change the file system more often than that"
    for after in range(1, killed + 1):
        check(folder / str(after))
        build_once_more(folder / str(after))


def test_twenty_builds_killed_at_random(folder: Path) -> None:
    with shelving("random", folder, SIZE, 1) as killer:
        assert killer.stdin is not None
        assert killer.stdout is not None
        for _ in range(20):
            killer.stdin.write("\n")
            killer.stdin.flush()
            assert killer.stdout.readline() == "killed\n"
            check(folder)
            assert read_current(model_folder(folder, "tiny")).engines
        killer.stdin.close()
    build_once_more(folder)
