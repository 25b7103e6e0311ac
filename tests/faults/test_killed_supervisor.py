# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` of the daemon itself: its children go with it, and what it leaves stops no later start."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from support.daemon import Daemon, wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean
from support.watch import Watch

GONE_S = 2.0


def running(daemon: Daemon) -> None:
    """Wait until it publishes."""
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)


def starting(daemon: Daemon) -> None:
    """Wait until the first children are there."""
    wait_until(lambda: len(daemon.children()) >= 3, 10, "children")


def refuses(path: Path) -> bool:
    """Whether nobody listens on a socket file."""
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == errno.ECONNREFUSED


@pytest.mark.parametrize("moment", [starting, running])
def test_children_go_with_it_and_the_next_start_works(daemons: StartDaemon, moment: Callable[[Daemon], None]) -> None:
    daemon = daemons().start()
    moment(daemon)
    daemon.process.send_signal(signal.SIGKILL)
    assert daemon.wait(5) == -signal.SIGKILL
    wait_until(lambda: not daemon.children(), GONE_S, "end of all children")
    if moment is running:
        # The kill left the socket file and the lock file; nobody listens there.
        left = sorted(entry.name for entry in daemon.folder.glob("*predictions.sock*"))
        assert left == ["predictions.sock", "predictions.sock.lock"]
        wait_until(lambda: refuses(daemon.folder / "predictions.sock"), GONE_S, "refusal")
    daemon.start()
    running(daemon)
    assert daemon.stop().code == 0
    assert_ended_clean(daemon)


def test_children_go_with_it_even_while_they_are_stopped(daemons: StartDaemon) -> None:
    daemon = daemons().start()
    running(daemon)
    for pid in daemon.children():
        os.kill(pid, signal.SIGSTOP)
    daemon.process.send_signal(signal.SIGKILL)
    daemon.wait(5)
    wait_until(lambda: not daemon.children(), GONE_S, "end of all children")
