# SPDX-License-Identifier: Apache-2.0
"""Which of the daemons that share a settings file ``edged reload`` reaches: real processes with real records."""

from __future__ import annotations

import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from edged.errors import DeviceUnavailableError
from edged.runtime.record import Entry, find, path_of
from edged.runtime.reload_command import run_reload

TCP = """--publish.bind=["tcp://127.0.0.1:5577"]"""
# As the supervisor does, without the family of processes: it begins, and answers each SIGHUP with its own name.
_DAEMON = """\
import os, signal, sys
from pathlib import Path
from edged.runtime.live_settings import Outcome
from edged.runtime.notify import Notifier
from edged.runtime.reload import SettingsReload

reload = SettingsReload(Path("edged.toml"), sys.argv[1:], Path("state"))
signal.signal(signal.SIGHUP, lambda *_: None)
signal.set_wakeup_fd((wake := os.pipe2(os.O_NONBLOCK))[1])
reload.begin()
print("ready", flush=True)
os.set_blocking(wake[0], True)
while os.read(wake[0], 1):
    outcome = Outcome([f"heard by {os.getpid()}"], [])
    reload.serve(lambda settings: outcome, Notifier(), lambda *_: None)
"""
Start = Callable[..., int]


@pytest.fixture
def start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """Starts a daemon with flags; returns its process id."""
    for name in [name for name in os.environ if name.startswith("EDGED_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "state").mkdir()
    (tmp_path / "edged.toml").write_text(
        '[[sources]]\nname = "a"\nuri = "synthetic://shapes"\n[model]\nspec = "m.toml"\n[daemon]\nstate_dir = "state"\n'
    )
    processes: list[subprocess.Popen[str]] = []

    def begin(*flags: str) -> int:
        process = subprocess.Popen([sys.executable, "-c", _DAEMON, *flags], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process.pid

    yield begin
    for process in processes:
        process.kill()
        process.communicate(timeout=10)


def heard(*flags: str, pid: int | None = None) -> str:
    """What a reload shows."""
    shown: list[str] = []
    given = Namespace(config=Path("edged.toml"), overrides=list(flags), pid=pid)
    assert run_reload(given, os.environ, shown.append) == 0
    return shown[0]


def refused(*flags: str, pid: int | None = None) -> str:
    with pytest.raises(DeviceUnavailableError) as caught:
        heard(*flags, pid=pid)
    return str(caught.value)


def test_flags_and_pid_tell_daemons_apart(start: Start) -> None:
    plain, tcp = start(), start(TCP, "--engine.slots", "3")
    assert heard() == heard("--daemon.state_dir", "state") == f"heard by {plain}"
    # Written otherwise, in another order.
    assert heard("--engine.slots=3", *TCP.split("=", 1)) == f"heard by {tcp}"
    assert heard(pid=tcp) == f"heard by {tcp}"
    running = f"pid {plain} (no flags), pid {tcp} (--engine.slots, --publish.bind)"
    for text in (refused(TCP), refused("--engine.slots=4", TCP), refused(pid=os.getpid())):
        assert "no daemon runs with it and " in text
        assert all(each in text for each in running.split(", pid"))
        assert "say which one with --pid" in text


def test_twins_are_told_apart_by_pid_alone(start: Start) -> None:
    twins = sorted([start(TCP), start(TCP)])
    for flags in ([TCP], []):
        text = refused(*flags)
        assert "edged.toml: several daemons run with it: " in text
        assert all(f"pid {pid} (--publish.bind)" in text for pid in twins)
    assert heard(TCP, pid=twins[1]) == f"heard by {twins[1]}"


def test_the_only_daemon_needs_no_flags(start: Start) -> None:
    tcp = start(TCP)
    assert heard() == f"heard by {tcp}"
    assert "pid" in refused("--engine.slots=4")


def test_a_record_of_an_older_version_is_read(start: Start, tmp_path: Path) -> None:
    old = start(TCP)
    (entry,) = find(tmp_path / "state")
    assert "5577" not in path_of(tmp_path / "state", entry).read_text()  # a flag's value may be secret
    fields = msgspec.to_builtins(entry)
    del fields["flags"]
    path_of(tmp_path / "state", entry).write_bytes(msgspec.json.encode(fields))
    assert find(tmp_path / "state") == [Entry(pid=old, started=entry.started, config=entry.config)]
    assert heard("--engine.slots=4") == heard() == f"heard by {old}"
