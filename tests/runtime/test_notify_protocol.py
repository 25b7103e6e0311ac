# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest
from support.manager import Manager, unused_name

from edged.runtime.notify import Notifier


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def manager() -> Iterator[Manager]:
    with Manager(unused_name(), watchdog_s=2.5) as manager:
        yield manager


def told(manager: Manager) -> list[dict[str, str]]:
    """What was told since the last look."""
    manager.listen(lambda: False, 0.05)
    found = [each.fields for each in manager.told]
    manager.told.clear()
    return found


def test_variables_are_taken_out(manager: Manager) -> None:
    environ = {**manager.environment, "WATCHDOG_PID": str(os.getpid()), "HOME": "/"}
    notifier = Notifier.from_environment(environ)
    assert environ == {"HOME": "/"}
    assert notifier.watchdog_s == 2.5
    assert notifier.alive()
    assert told(manager) == [{"WATCHDOG": "1"}]
    notifier.close()


@pytest.mark.parametrize(
    ("variables", "watched"),
    [
        ({"WATCHDOG_USEC": "2500000"}, True),
        ({"WATCHDOG_USEC": "2500000", "WATCHDOG_PID": "1"}, False),
        ({"WATCHDOG_USEC": "0"}, False),
        ({"WATCHDOG_USEC": "often"}, False),
        ({}, False),
    ],
)
def test_whether_there_is_a_watchdog(manager: Manager, variables: dict[str, str], watched: bool) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": manager.address, **variables})
    assert (notifier.watchdog_s is not None) == watched
    notifier.alive()
    assert bool(told(manager)) == watched
    notifier.close()


@pytest.mark.parametrize("address", ["", "vsock:2:1234", "relative/path"])
def test_without_a_manager_nothing_happens(address: str) -> None:
    notifier = Notifier.from_environment({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "1000000"})
    assert notifier.watchdog_s is None
    notifier.ready("ready")
    notifier.status("fine")
    notifier.reloading()
    notifier.extend("building")
    assert notifier.alive()
    notifier.stopping()
    notifier.close()


def test_status_is_one_line_a_second_when_it_changed(manager: Manager) -> None:
    clock = Clock()
    notifier = Notifier(manager.address, clock=clock)
    notifier.status("one")
    notifier.status("two")
    assert told(manager) == [{"STATUS": "one"}]
    clock.now += 1.0
    notifier.status("one")
    assert told(manager) == []
    notifier.status("two\nREADY=1 " + "x" * 1000)
    (said,) = told(manager)
    assert said.keys() == {"STATUS"}
    assert said["STATUS"].startswith("two READY=1 x")
    assert len(said["STATUS"]) <= 400
    notifier.close()


def test_reload_and_stop(manager: Manager) -> None:
    notifier = Notifier(manager.address)
    before = time.monotonic_ns() // 1000
    notifier.reloading()
    notifier.ready()
    notifier.stopping("wrong settings")
    notifier.stopping()
    reloading, ready, stopping = told(manager)
    assert reloading["RELOADING"] == "1"
    assert before <= int(reloading["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert ready == {"READY": "1"}
    assert stopping == {"STOPPING": "1", "STATUS": "wrong settings"}
    notifier.close()


def test_a_long_start_asks_for_more_time_now_and_then(manager: Manager) -> None:
    clock = Clock()
    notifier = Notifier(manager.address, clock=clock)
    for _ in range(300):
        clock.now += 0.2
        notifier.extend("building the engine")
    extended = [fields for fields in told(manager) if "EXTEND_TIMEOUT_USEC" in fields]
    assert 5 <= len(extended) <= 7
    # Each reaches well beyond the next.
    assert int(extended[0]["EXTEND_TIMEOUT_USEC"]) >= 3 * 10_000_000
    notifier.close()


def test_a_full_queue_is_not_waited_for(manager: Manager) -> None:
    notifier = Notifier(manager.address, 1.0)
    begin = time.monotonic()
    fed = [notifier.alive() for _ in range(5000)]
    assert False in fed
    assert time.monotonic() - begin < 2
    told(manager)
    assert notifier.alive()
    notifier.close()
