# SPDX-License-Identifier: Apache-2.0
"""What stays in the store after a build, who keeps an engine from being removed, and to whom all of it belongs."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.engines import FakeToolkit, Heard, manifest, request, write_model

from edged.engine.build import build
from edged.engine.lease import Lease, unused
from edged.engine.outdated import Outdated, remove_outdated
from edged.engine.shelf import Content, hold
from edged.engine.store import model_folder
from edged.engine.trt_workshop import TrtWorkshop
from edged.files import adopt, make_folder

DAEMON = 12345
REPOSITORY = Path(__file__).parents[2]


def store(state: Path, driver: int, precision: str = "fp16", *, at: float | None = None) -> str:
    """An engine for a driver, made current; returns its key."""
    content = b"plan" * driver
    when = float(driver) if at is None else at
    made = manifest(content, precision=precision, driver=str(driver), extra={"created_at": when})
    with hold(state, "tiny") as shelf:
        shelf.put(made, Content(content))
        shelf.make_current(made, chosen=precision == "fp16")
    return made.key


def clear(state: Path, keep: int) -> list[Outdated]:
    with hold(state, "tiny") as shelf:
        return remove_outdated(shelf.folder, keep)


def left(state: Path) -> set[str]:
    return {path.name for path in model_folder(state, "tiny").iterdir()} - {"current.json"}


def test_the_current_and_the_last_one_of_each_precision_stay(tmp_path: Path) -> None:
    half = [store(tmp_path, driver) for driver in range(1, 5)]
    full = [store(tmp_path, driver, "fp32") for driver in range(1, 3)]
    gone = clear(tmp_path, 1)
    assert left(tmp_path) == {*half[2:], *full}
    assert sorted((one.key, one.kind, one.fate) for one in gone) == sorted(
        (key, "tensorrt/fp16", "removed") for key in half[:2]
    )
    assert all(one.size > 0 for one in gone)
    assert str(gone[0]) == f"tensorrt/fp16 {gone[0].key[:12]}"
    assert clear(tmp_path, 1) == []
    clear(tmp_path, 0)
    assert left(tmp_path) == {half[-1], full[-1]}


def test_what_is_current_stays_however_old_it_is_and_what_is_broken_goes(tmp_path: Path) -> None:
    newer, broken = store(tmp_path, 1, at=100.0), store(tmp_path, 2, at=200.0)
    current = store(tmp_path, 3, at=1.0)
    (model_folder(tmp_path, "tiny") / broken / "engine.json").write_bytes(b"{")
    strange = model_folder(tmp_path, "tiny") / "notes"
    strange.mkdir()
    assert [(one.key, one.kind) for one in clear(tmp_path, 1)] == [(broken, "broken")]
    assert left(tmp_path) == {newer, current, "notes"}


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has the engine of driver 1 in use."""
    folder = model_folder(tmp_path, "tiny") / store(tmp_path, 1)
    code = f"from pathlib import Path\nfrom edged.engine.lease import Lease\nlease = Lease(Path({str(folder)!r}))\n"
    code += "print(lease.held, flush=True)\ninput()\n"
    command = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "True\n"
        yield process
        process.kill()


def test_an_engine_that_runs_is_never_removed(tmp_path: Path, runner: subprocess.Popen[str]) -> None:
    used, last = left(tmp_path).pop(), [store(tmp_path, driver) for driver in (2, 3)]
    assert [(one.key, one.fate) for one in clear(tmp_path, 0)] == [(last[0], "removed"), (used, "in use")]
    assert left(tmp_path) == {used, last[1]}
    runner.kill()
    runner.wait()
    assert [one.fate for one in clear(tmp_path, 0)] == ["removed"]
    assert left(tmp_path) == {last[1]}


def test_a_lease_is_shared_and_ends(tmp_path: Path) -> None:
    first, second = Lease(tmp_path), Lease(tmp_path)
    first.close()
    first.close()
    assert (first.held, second.held) == (False, True)
    with unused(tmp_path) as free:
        assert not free
    second.close()
    with unused(tmp_path) as free:
        assert free
        assert not Lease(tmp_path).held
    assert not Lease(tmp_path / "absent").held


def test_a_build_tells_what_it_removed(tmp_path: Path) -> None:
    spec, heard = write_model(tmp_path / "models"), Heard()
    ends = [
        build(
            request(spec, tmp_path, workspace_mb=size, keep=1),
            heard,
            lambda given: TrtWorkshop(FakeToolkit(), given.plugins),
        )
        for size in (64, 65, 66)
    ]
    assert [len(done.outdated) for done in ends] == [0, 0, 1]
    assert ends[2].outdated[0].startswith(f"tensorrt/fp16 {ends[0].key[:12]} (")
    assert ends[2].outdated[0].endswith("): removed")
    assert left(tmp_path) == {done.key for done in ends[1:]}


@pytest.fixture
def state() -> Iterator[Path]:
    """The state folder of a daemon that runs as another user, where that user gets to it."""
    with tempfile.TemporaryDirectory(prefix="edged-state-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.chown(folder, DAEMON, DAEMON + 1)
        yield folder


AS_THE_DAEMON = """
import os, sys
from pathlib import Path
from edged.engine.shelf import Content, hold, tidy
from edged.engine.store import model_folder, read_current, read_engine, verify
from support.engines import manifest
state, user = Path(sys.argv[1]), int(sys.argv[2])
# Only now: this user may not be allowed to read the interpreter's own files.
os.setgroups([]); os.setgid(user + 1); os.setuid(user)
folder = model_folder(state, "tiny")
engine = read_engine(folder, read_current(folder).engines["tensorrt/fp16"])
verify(engine)
tidy(state)
with hold(state, "tiny") as shelf:
    made = manifest(b"mine")
    shelf.put(made, Content(b"mine"))
    shelf.make_current(made, chosen=True)
engine.path.unlink()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_what_root_builds_belongs_to_the_daemon(state: Path, tmp_path: Path) -> None:
    spec, previous = write_model(tmp_path / "models"), os.umask(0o077)
    try:
        for size in (64, 65, 66):
            asked = request(spec, state, workspace_mb=size)
            build(asked, Heard(), lambda given: TrtWorkshop(FakeToolkit(), given.plugins))
    finally:
        os.umask(previous)
    made = [*state.rglob("*")]
    assert len(made) > 10
    assert {(path.stat().st_uid, path.stat().st_gid) for path in made} == {(DAEMON, DAEMON + 1)}
    environment = {**os.environ, "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}"}
    # What a build killed as root leaves behind is the daemon's to clear away.
    leftover = model_folder(state, "tiny") / ".build.x.tmp"
    make_folder(leftover)
    command = [sys.executable, "-c", AS_THE_DAEMON, str(state), str(DAEMON)]
    subprocess.run(command, env=environment, check=True, cwd="/", timeout=60)
    assert not leftover.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_only_what_is_roots_alone_is_given_away(tmp_path: Path) -> None:
    theirs, secret = tmp_path / "theirs", tmp_path / "secret"
    theirs.mkdir()
    os.chown(theirs, DAEMON, DAEMON)
    secret.write_text("root's")
    os.link(secret, theirs / "hard")
    (theirs / "soft").symlink_to(secret)
    for name in ("hard", "soft"):
        adopt(theirs / name)
    assert secret.stat().st_uid == 0
    make_folder(theirs / "a" / "b")
    assert {(theirs / name).stat().st_uid for name in ("a", "a/b")} == {DAEMON}
    make_folder(tmp_path / "c" / "d")
    assert (tmp_path / "c" / "d").stat().st_uid == 0
