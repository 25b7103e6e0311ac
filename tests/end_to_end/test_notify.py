# SPDX-License-Identifier: Apache-2.0
"""Under a service manager: ready, status, reload, stopping, and a watchdog that only work can feed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from support.daemon import Daemon
from support.fixtures import StartDaemon
from support.manager import Manager, environment_of, unused_name
from support.traces import assert_ended_clean
from support.watch import Watch

START_S = 20.0
Manage = Callable[..., Manager]


@pytest.fixture
def manage(monkeypatch: pytest.MonkeyPatch) -> Iterator[Manage]:
    """Makes a manager, and has daemons started from then on find it in their environment."""
    made: list[Manager] = []

    def make(address: str | None = None, **arguments: Any) -> Manager:
        manager = Manager(address or unused_name(), **arguments)
        made.append(manager)
        for name, value in manager.environment.items():
            monkeypatch.setenv(name, value)
        return manager

    yield make
    for manager in made:
        manager.__exit__(None, None, None)


def wait_for_ready(manager: Manager, daemon: Daemon) -> None:
    assert manager.listen(lambda: bool(manager.said("READY", "1")), START_S), daemon.output


@pytest.mark.parametrize("abstract", [True, False])
def test_from_start_to_stop(daemons: StartDaemon, manage: Manage, short_folder: Path, abstract: bool) -> None:
    manager = manage(unused_name() if abstract else str(short_folder / "notify"))
    daemon = daemons().start()
    wait_for_ready(manager, daemon)
    (ready,) = manager.said("READY")
    assert manager.told[0].fields == {"STATUS": "starting"}
    assert " ready after " in daemon.output
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
        # Told when it changes, and once a second at the most.
        live = "ready: 2 of 2 sources live"
        assert manager.listen(lambda: any(live in each.fields["STATUS"] for each in manager.said("STATUS")), 10)
        later = [each.at for each in manager.said("STATUS") if each.at > ready.at]
        assert all(after - before > 0.9 for before, after in pairwise(later))
        for pid in daemon.children():
            assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"}.intersection(environment_of(pid))
    ended = daemon.stop()
    assert ended.code == 0
    assert ended.seconds < 2.0
    assert manager.listen(lambda: bool(manager.said("STOPPING", "1")), 1)
    assert manager.told[-1].fields == {"STOPPING": "1", "STATUS": "stopping"}
    assert {each.pid for each in manager.told} == {daemon.process.pid}
    assert not manager.said("WATCHDOG")  # nobody asked for it
    assert_ended_clean(daemon, "notify")


def test_what_keeps_it_from_starting_stands_in_the_status(daemons: StartDaemon, manage: Manage) -> None:
    manager = manage()
    daemon = daemons({"engine": {"device": -1}}).start()
    assert daemon.wait() == 78
    assert manager.listen(lambda: bool(manager.said("STOPPING")), 1)
    assert not manager.said("READY")
    assert "engine.device" in manager.said("STOPPING")[0].fields["STATUS"]


def test_a_manager_that_is_gone_is_no_reason_to_stop(daemons: StartDaemon, manage: Manage) -> None:
    manager = manage(watchdog_s=5.0)
    manager.__exit__(None, None, None)
    daemon = daemons().start()
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
        watch.wait_for_all(["north", "south"], time.monotonic() + 1.5, 20)
    assert "the service manager cannot be told" in daemon.output
    assert daemon.stop().code == 0


def test_reload(daemons: StartDaemon, manage: Manage) -> None:
    manager = manage()
    daemon = daemons().start()
    wait_for_ready(manager, daemon)
    good = daemon.config.read_text()
    steps = [
        (good, "nothing has changed"),
        (good.replace('name = "test"', 'name = "test"\nlog_level = "warning"'), "the log level is warning now"),
        (good.replace("max_batch = 1", "max_batch = 2"), "a restart is needed for engine.max_batch"),
        (good.replace("max_batch = 1", "max_batch = 0"), "the settings stay as they are"),
    ]
    for count, (content, outcome) in enumerate(steps, start=1):
        daemon.config.write_text(content)
        before = time.monotonic_ns() // 1000
        daemon.process.send_signal(signal.SIGHUP)
        assert manager.listen(lambda count=count: len(manager.said("READY")) > count, 10), daemon.output  # type: ignore[misc]
        told = [each.fields for each in manager.told if {"RELOADING", "READY"}.intersection(each.fields)]
        assert [sorted(fields)[-1] for fields in told[-2:]] == ["RELOADING", "READY"], outcome
        assert before <= int(told[-2]["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
        if "warning" not in outcome:
            assert outcome in daemon.output
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
    assert daemon.stop().code == 0
    assert_ended_clean(daemon)


def feedings(manager: Manager, seconds: float) -> int:
    """How often the watchdog was fed within a time."""
    before = len(manager.said("WATCHDOG", "1"))
    manager.listen(lambda: False, seconds)
    return len(manager.said("WATCHDOG", "1")) - before


WAITING: dict[str, dict[str, Any]] = {
    "for subscribers": {"publish": {"wait_for_subscribers": 1}},
    "for a camera": {"sources": [{"name": "camera", "uri": "v4l2:///dev/video250"}]},
    "for nothing": {"sources": [{"name": "short", "uri": "synthetic://shapes?frames=3", "mode": "lossless"}]},
}


def test_sources_that_wait_feed_the_watchdog(daemons: StartDaemon, manage: Manage) -> None:
    # Side by side: nearly all of the time is waiting.
    started = []
    for settings in WAITING.values():
        manager = manage(watchdog_s=3.0)
        started.append((manager, daemons(settings).start()))
    # All are listened to meanwhile: few messages fit into a socket, and one that does not fit is gone.
    end = time.monotonic() + START_S
    while not all(manager.said("READY", "1") for manager, _ in started):
        assert time.monotonic() < end, [daemon.output for _, daemon in started]
        for manager, _ in started:
            manager.listen(lambda: False, 0.1)
    before = [len(manager.said("WATCHDOG", "1")) for manager, _ in started]
    end = time.monotonic() + 3.3
    while time.monotonic() < end:
        for (manager, daemon), waits in zip(started, WAITING, strict=True):
            manager.listen(lambda: False, 0.1)
            assert not manager.hungry(), (waits, daemon.output)
    for (manager, daemon), fed, waits in zip(started, before, WAITING, strict=True):
        assert len(manager.said("WATCHDOG", "1")) >= fed + 2, waits
        assert "stacks" not in daemon.output
        assert daemon.stop().code == 0


def test_a_supervisor_that_hangs_does_not_feed_the_watchdog(daemons: StartDaemon, manage: Manage) -> None:
    manager = manage(watchdog_s=3.0)
    daemon = daemons().start()
    wait_for_ready(manager, daemon)
    with Watch(daemon) as watch:
        watch.wait_for_all(["north", "south"], 0, 20)
    assert feedings(manager, 2.2) >= 2
    children = set(daemon.children())
    os.kill(daemon.process.pid, signal.SIGSTOP)
    try:
        assert manager.listen(manager.hungry, 8), daemon.output
    finally:
        os.kill(daemon.process.pid, signal.SIGCONT)
    # It goes on, so the watchdog has something to eat again, and nobody was taken for hanging meanwhile.
    fed = len(manager.said("WATCHDOG"))
    assert manager.listen(lambda: len(manager.said("WATCHDOG")) > fed, 5)
    assert set(daemon.children()) == children
    assert daemon.stop().code == 0
