# SPDX-License-Identifier: Apache-2.0
"""Clean: asked to stop at any moment of its life, the daemon ends with 0 within 2 s and leaves nothing behind."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

import pytest
from support.daemon import Daemon, wait_until
from support.fixtures import StartDaemon
from support.traces import assert_ended_clean, named_shared_memory
from support.watch import Watch

LIMIT_S = 2.0
DELAYS_MS = (0, 20, 50, 100, 200, 400, 800)
# SIGTERM as a service manager sends it to the main process, Ctrl-C as a terminal sends it to the whole group.
WAYS = [pytest.param(signal.SIGTERM, False, id="sigterm"), pytest.param(signal.SIGINT, True, id="ctrl-c")]


def stop(daemon: Daemon, number: int = signal.SIGTERM, *, group: bool = False) -> None:
    """Stop it and check how it ended."""
    ended = daemon.stop(number, group=group)
    assert ended.code == 0, daemon.output
    assert ended.seconds < LIMIT_S, daemon.output
    assert_ended_clean(daemon)


def handles(daemon: Daemon, number: int) -> bool:
    """Whether the process has a handler for a signal."""
    caught = re.search(r"^SigCgt:\s+(\w+)", Path(f"/proc/{daemon.process.pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) >> (number - 1) & 1)


@pytest.mark.parametrize(("number", "group"), WAYS)
def test_before_the_first_log_line(daemons: StartDaemon, number: int, group: bool) -> None:
    daemon = daemons().start()
    # Only Python itself is faster; its interpreter takes a moment before it runs the first line.
    wait_until(lambda: handles(daemon, signal.SIGTERM) and handles(daemon, signal.SIGINT), 10, "handlers")
    stop(daemon, number, group=group)


@pytest.mark.parametrize("delay_ms", DELAYS_MS)
@pytest.mark.parametrize(("number", "group"), WAYS)
def test_while_it_starts(daemons: StartDaemon, number: int, group: bool, delay_ms: int) -> None:
    daemon = daemons().start()
    daemon.wait_for_log(" starts")
    # No event to wait for: the point is to hit whatever the start is at.
    time.sleep(delay_ms / 1000)
    stop(daemon, number, group=group)


def test_while_it_waits_for_subscribers(daemons: StartDaemon) -> None:
    daemon = daemons({"publish": {"wait_for_subscribers": 1}}).start()
    daemon.wait_for_log("waiting for 1 subscription")
    stop(daemon)


@pytest.mark.parametrize(("number", "group"), [*WAYS, pytest.param(signal.SIGTERM, True, id="sigterm-to-all")])
def test_while_it_runs(daemons: StartDaemon, number: int, group: bool) -> None:
    daemon = daemons().start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
        assert named_shared_memory([daemon.process.pid, *daemon.children()]) == []
        # Read on while it stops: what was submitted is still published, and the last health message closes the books.
        ended = daemon.stop(number, group=group)
        watch.until(lambda: watch.stopping)
        seen = sum(len(each) for each in watch.predictions.values())
        watch.record(0.1)
        assert sum(len(each) for each in watch.predictions.values()) == seen, "a prediction after the last health"
        for source in ("north", "south"):
            assert watch.health.sources[source].in_flight == 0
            watch.assert_accounted(source)
    assert ended.code == 0
    assert ended.seconds < LIMIT_S
    assert not [line for line in daemon.output.splitlines() if "WARNING" in line]
    assert_ended_clean(daemon)


def test_when_one_source_has_ended(daemons: StartDaemon) -> None:
    daemon = daemons(
        {
            "sources": [
                {"name": "short", "uri": "synthetic://shapes?frames=3", "mode": "lossless"},
                {"name": "endless", "uri": "synthetic://shapes"},
            ],
            "publish": {"wait_for_subscribers": 1},
        }
    ).start()
    with Watch(daemon) as watch:
        watch.until(lambda: any(event.kind == "source-ended" for event in watch.events))
        watch.wait_for_all(["endless"], time.monotonic(), 10)
    stop(daemon)


def test_when_publish_was_just_killed(daemons: StartDaemon) -> None:
    daemon = daemons().start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
    (publish,) = daemon.children("publish")
    os.kill(publish, signal.SIGKILL)
    stop(daemon)


@pytest.mark.parametrize("role", ["capture", "infer", "publish"])
def test_when_a_child_does_not_answer(daemons: StartDaemon, role: str) -> None:
    daemon = daemons().start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
    os.kill(daemon.children(role)[0], signal.SIGSTOP)
    stop(daemon)
