# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.daemon import wait_until
from support.manager import Manager, unused_name

from edged.records import FrameRecord
from edged.runtime.channel import Channel
from edged.runtime.members import Member
from edged.runtime.notify import Notifier
from edged.runtime.rings import Rings
from edged.runtime.watchdog import Watchdog, Work, WorkWatch, thread_states, write_stacks
from edged.shm.output_table import OutputLayout

STARTING_S = 0.5
_CHILD = """
import faulthandler, sys, time
if sys.argv[1] == "catches":
    faulthandler.register(12, all_threads=True)
def wait_here():
    print("up", flush=True)
    time.sleep(60)
wait_here()
"""


def test_work_that_moves_or_is_not_there_is_fine() -> None:
    watch = WorkWatch(30)
    assert watch.look(Work(settled=5, owed=2, starting=False), 0)
    assert watch.look(Work(settled=6, owed=9, starting=False), 1)
    assert not watch.look(Work(settled=6, owed=9, starting=False), 2)
    assert watch.look(Work(settled=6, owed=0, starting=False), 3)
    assert not watch.look(Work(settled=6, owed=1, starting=False), 4)


def test_a_replacement_gets_its_time_and_no_more() -> None:
    watch = WorkWatch(30)
    stuck = Work(settled=1, owed=1, starting=False)
    assert watch.look(stuck, 0)
    replacing = stuck._replace(starting=True)
    assert watch.look(replacing, 1)
    assert watch.look(replacing, 30.9)
    assert not watch.look(replacing, 31)
    assert not watch.look(stuck, 40)
    assert watch.look(replacing, 41)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=50))
def test_only_progress_or_nothing_to_do_is_fine(steps: list[tuple[int, int]]) -> None:
    watch = WorkWatch(30)
    settled = 0
    watch.look(Work(0, 0, False), 0)
    for now, (more, owed) in enumerate(steps, start=1):
        settled += more
        assert watch.look(Work(settled, owed, False), now) == (more > 0 or owed == 0)


class Child:
    """A process that sleeps in a function, as a member of a family; with or without a handler for the signal."""

    def __init__(self, way: str, log: Path) -> None:
        with log.open("ab") as stream:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _CHILD, way], stdout=subprocess.PIPE, stderr=stream, start_new_session=True
            )
        assert self.process.stdout is not None
        self.process.stdout.readline()
        self.pid = self.process.pid
        self._ends = Channel.pair()
        self.member = Member("infer", "model", running=(self, self._ends[0]))

    def wait(self, timeout_s: float) -> int | None:
        return self.process.wait(timeout_s)

    def kill(self) -> None:
        self.process.kill()

    def close(self) -> None:
        self.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        for end in self._ends:
            end.close()


def test_stacks_of_a_family(tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [Child("catches", log), Child("does not", log)]
    try:
        with log.open("a") as stream:
            write_stacks([child.member for child in children] + [Member("publish", "socket")], stream)
        text = log.read_text()
        assert "in wait_here" in text
        assert "test_stacks_of_a_family" in text
        # Who has no handler for the signal would die of it, and is left alone.
        assert [child.process.poll() for child in children] == [None, None]
        os.kill(children[0].pid, signal.SIGSTOP)
        wait_until(lambda: "stopped" in thread_states(children[0].pid)[0], 5, "stop")
        wait_until(lambda: "waiting" in thread_states(children[1].pid)[0], 5, "wait")
    finally:
        for child in children:
            child.close()
    assert thread_states(children[0].pid) == []


def test_a_supervisor_that_hangs_is_written_down(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with Manager(unused_name(), watchdog_s=0.5) as manager, log.open("w") as stream:
        notifier = Notifier(manager.address, manager.watchdog_s)
        watchdog = Watchdog(notifier, list, starting_s=1.0, stream=stream)
        watchdog.begin()
        hang = threading.Event()
        # Nobody looks at the work: this thread stands for the supervisor's.
        wait_until(lambda: hang.is_set() or "test_a_supervisor_that_hangs" in log.read_text(), 5, "stack")
        size = log.stat().st_size
        hang.wait(0.6)
        assert log.stat().st_size == size  # once is enough
        watchdog.close()
        notifier.close()
        assert not manager.said("WATCHDOG")


class Fed:
    """A watchdog over real shared memory, with a manager that takes what it is told."""

    def __init__(self, manager: Manager) -> None:
        self.rings = Rings([True], slots=2, frame_bytes=192, outputs=OutputLayout(4, 2, ()))
        self.members = Member("infer", "model", ready=True), Member("publish", "socket", ready=True)
        self._manager = manager
        self._notifier = Notifier(manager.address, manager.watchdog_s)
        self._watchdog = Watchdog(self._notifier, list, starting_s=STARTING_S)
        self._watchdog.begin()

    def __call__(self) -> bool:
        """Look; whether the manager was told."""
        before = len(self._manager.said("WATCHDOG", "1"))
        self._watchdog.look(self.rings, self.members)
        return self._manager.listen(lambda: len(self._manager.said("WATCHDOG", "1")) > before, 0.1)

    def capture(self) -> int:
        """One more frame; returns its id."""
        table = self.rings.frames[0]
        slot = table.acquire()
        assert slot is not None
        return table.commit(slot, FrameRecord(0, 0, 1, 1, 8, 8, 8, 8), 1)

    def close(self) -> None:
        self._watchdog.close()
        self._notifier.close()
        self.rings.close()


@pytest.fixture
def fed() -> Iterator[Fed]:
    with Manager(unused_name(), watchdog_s=60.0) as manager:
        made = Fed(manager)
        yield made
        made.close()


def test_a_child_that_hangs_starves_the_watchdog(fed: Fed) -> None:
    assert fed()
    frame = fed.capture()
    assert not fed()  # both work, as far as anybody knows, but the frame does not get anywhere
    assert not fed()
    fed.rings.frames[0].settle(frame, published=True)
    assert fed()
    assert fed()


@pytest.mark.parametrize("which", [0, 1])
def test_one_that_is_replaced_and_does_not_begin_to_work_starves_it_too(fed: Fed, which: int) -> None:
    fed.capture()
    fed.members[which].ready = False
    begin = time.monotonic()
    assert fed()
    wait_until(lambda: not fed(), 10, "hunger")
    assert time.monotonic() - begin >= 0.8 * STARTING_S
    fed.members[which].ready = True
    assert not fed()  # it is there, and has done nothing yet


def test_without_a_manager_there_is_no_thread() -> None:
    before = threading.active_count()
    watchdog = Watchdog(Notifier(), list, starting_s=1.0)
    watchdog.begin()
    assert threading.active_count() == before
    watchdog.close()
