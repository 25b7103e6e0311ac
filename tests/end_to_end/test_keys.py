# SPDX-License-Identifier: Apache-2.0
"""``edged keys`` beside a running daemon: who is let in over tcp changes without a restart."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

from support.daemon import Daemon, next_health, wait_until
from support.fixtures import StartDaemon
from support.ports import tcp_endpoint

from edged.stages.publish.client import Subscriber
from edged.stages.publish.security import load_client_curve


def edged(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run a command in a folder; all that it says."""
    command = [sys.executable, "-m", "edged", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, timeout=30, check=False)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def keys(folder: Path, *arguments: str, code: int = 0) -> str:
    """Run ``edged keys``."""
    return edged(folder, "keys", *arguments, code=code)


def start(daemons: StartDaemon, folder: Path) -> tuple[Daemon, str]:
    """A daemon that listens on tcp, with keys of its own and of two clients in a folder, one of them authorised."""
    for name in ("daemon", "one", "two"):
        keys(folder, "create", name)
    tcp = tcp_endpoint()
    daemon = daemons(
        {
            "publish": {"bind": [tcp]},
            "publish.curve": {
                "secret_key_file": str(folder / "daemon.key_secret"),
                "authorized_keys_dir": str(folder / "authorized"),
            },
        }
    )
    keys(folder, "authorise", "one.key", "--config", str(daemon.config))
    return daemon.start(), tcp


def receives(subscriber: Subscriber, timeout_s: float = 10.0) -> bool:
    return subscriber.receive(timeout_s) is not None


def falls_silent(subscriber: Subscriber) -> float:
    """Seconds until nothing has come for longer than a busy machine holds a daemon up, that not counted."""
    begin = last = time.monotonic()
    while subscriber.receive(1.5) is not None:
        last = time.monotonic()
        assert last - begin < 10
    return last - begin


def test_a_running_daemon_follows(daemons: StartDaemon, tmp_path: Path) -> None:
    daemon, tcp = start(daemons, tmp_path)
    config = ["--config", str(daemon.config)]

    def client(name: str) -> Subscriber:
        return Subscriber(tcp, curve=load_client_curve(tmp_path / "daemon.key", tmp_path / f"{name}.key_secret"))

    daemon.wait_for_log(" ready after ")
    show_what_comes(tmp_path, tcp)
    with client("one") as one:
        assert receives(one)
        keys(tmp_path, "authorise", "two.key", *config)
        with client("two") as two:
            assert receives(two)
            keys(tmp_path, "revoke", "one", *config)
            assert falls_silent(one) < 5.0
            # The others were cut off too, for a moment; what they missed shows in the numbers.
            assert receives(two)
            assert receives(two)
        with client("one") as again:
            assert not receives(again, 1.0)
        daemon.wait_for_log("connection(s) refused", 15)
        # A publish process that replaces another one knows who is welcome, too, even where a file is no good.
        (tmp_path / "authorized" / "bad.key").write_text("no key")
        (publish,) = daemon.children("publish")
        os.kill(publish, signal.SIGKILL)
        wait_until(lambda: daemon.children("publish") not in ([], [publish]), 10, "a new publish process")
        with client("two") as two:
            assert next_health(two, 20).state in ("ready", "degraded")
        daemon.wait_for_log("bad.key cannot be read as a key file", 10)
    assert "two" in keys(tmp_path, "list", *config)
    assert daemon.stop().code == 0


def show_what_comes(folder: Path, tcp: str) -> None:
    """``edged tail`` and ``edged top`` with the keys of a client."""
    own = ["--connect", tcp, "--server-key", "daemon.key", "--key", "one.key_secret"]
    assert " north #" in edged(folder, "tail", *own, "--count", "1", "--seconds", "20", "v1/predictions/north/")
    assert "test  ready" in edged(folder, "top", "--once", *own)


def test_on_the_command_line(tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path)]
    keys(tmp_path, "create", "camera-pc")
    assert stat.S_IMODE((tmp_path / "camera-pc.key_secret").stat().st_mode) == 0o600
    assert "camera-pc  " in keys(tmp_path, "list", *folder)
    for name in ("../pc", "a/b", "/tmp/pc"):
        assert "a key's name has letters" in keys(tmp_path, "create", name, code=78)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["camera-pc.key", "camera-pc.key_secret"]
    assert "needs a key file" in keys(tmp_path, "authorise", code=64)
    assert "invalid choice" in keys(tmp_path, "forget", "me", code=64)
    assert "takes no name" in keys(tmp_path, "list", "me", code=64)
    assert "goes with edged keys authorise" in keys(tmp_path, "revoke", "me", "--name", "you", code=64)
    assert "authorised are: camera-pc" in keys(tmp_path, "revoke", "me", *folder, code=78)
    keys(tmp_path, "revoke", "camera-pc", *folder)
    assert "nobody may subscribe" in keys(tmp_path, "list", *folder)
