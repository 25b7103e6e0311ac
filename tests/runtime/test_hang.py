# SPDX-License-Identifier: Apache-2.0
"""Who counts as hanging: not who waits for work or for the processor, and nobody after a long sleep of all."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator

import pytest
from support.daemon import wait_until

from edged.records import FrameRecord, TensorSpec
from edged.runtime.channel import Channel
from edged.runtime.hang import INFER_S, PUBLISH_S, HangWatch
from edged.runtime.launch import ProcessHandle
from edged.runtime.members import Member
from edged.runtime.rings import Rings
from edged.shm.board import INFER_ROW
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import BatchTimes, OutputLayout

FRAME = FrameRecord(0, 0, 1, 2, 8, 8, 8, 8)


def _sleeping() -> ProcessHandle:
    """A real process that sleeps."""
    return ProcessHandle(subprocess.Popen(["sleep", "60"]))


class _Bench:
    def __init__(self) -> None:
        layout = OutputLayout(2, 1, (TensorSpec("a", "float32", (1,)),))
        self.rings = Rings([True], slots=1, frame_bytes=192, outputs=layout)
        self.handles = [_sleeping(), _sleeping()]
        self.infer, self.publish = Member("infer", "model"), Member("publish", "socket")
        for member, handle in zip((self.infer, self.publish), self.handles, strict=True):
            channel, other = Channel.pair()
            other.close()
            member.running, member.ready = (handle, channel), True
        self.watch = HangWatch(self.infer, self.publish)
        self.now = 100.0

    def look_for(self, seconds: float, step: float = 0.25) -> None:
        for _ in range(round(seconds / step)):
            self.watch.look(self.rings, 0, self.now)
            self.now += step

    def capture(self) -> FrameTable:
        table = self.rings.frames[0]
        slot = table.acquire()
        assert slot is not None
        table.commit(slot, FRAME, 0)
        return table

    def asleep(self) -> None:
        """Wait until the processes sleep, for while they start they want to run."""
        wait_until(lambda: all(_state(handle.pid) == "S" for handle in self.handles), 5, "sleep")


def _state(pid: int) -> str:
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0]


@pytest.fixture
def bench() -> Iterator[_Bench]:
    made = _Bench()
    made.asleep()
    yield made
    for handle in made.handles:
        handle.kill()
        handle.wait(5)
    for member in (made.infer, made.publish):
        assert member.running is not None
        member.running[1].close()
    made.rings.close()


def test_who_has_nothing_to_do_is_left_alone(bench: _Bench) -> None:
    bench.look_for(60)
    assert [handle.wait(0) for handle in bench.handles] == [None, None]


def test_infer_that_leaves_frames_waiting_is_ended(bench: _Bench) -> None:
    bench.capture()
    bench.look_for(INFER_S)
    row = bench.rings.board.row(INFER_ROW)
    row.beat()  # just in time
    bench.look_for(INFER_S)
    assert bench.infer.fate == ""
    bench.look_for(1.5)
    assert bench.handles[0].wait(5) == -9
    assert bench.infer.fate.startswith("hung for 1.")
    assert bench.handles[1].wait(0) is None


def test_slow_batches_get_more_time(bench: _Bench) -> None:
    bench.capture()
    bench.rings.board.row(INFER_ROW).add(2, int(1e9), 0)
    bench.look_for(9)
    assert bench.handles[0].wait(0) is None
    bench.look_for(3)
    assert bench.handles[0].wait(5) == -9


def test_publish_that_leaves_results_waiting_is_ended_and_infer_is_not(bench: _Bench) -> None:
    table = bench.capture()
    for _ in range(2):  # the ring is full, so infer has an excuse
        slot = bench.rings.outputs.free_slot()
        assert slot is not None
        bench.rings.outputs.describe(slot, [FRAME])
        bench.rings.outputs.deliver(slot, BatchTimes(1, 2, 3))
    assert table.owed == 1
    bench.look_for(PUBLISH_S + 1)
    assert bench.handles[1].wait(5) == -9
    bench.look_for(30)
    assert bench.handles[0].wait(0) is None


def test_a_sleep_of_the_whole_machine_is_no_hang(bench: _Bench) -> None:
    bench.capture()
    bench.look_for(0.5)
    bench.now += 3600
    bench.look_for(0.5)
    assert bench.infer.fate == ""


def test_who_is_being_replaced_is_left_alone_for_a_while(bench: _Bench) -> None:
    bench.capture()
    bench.infer.ready = bench.publish.ready = False
    bench.look_for(10)
    assert [handle.wait(0) for handle in bench.handles] == [None, None]
    bench.look_for(10)
    assert bench.handles[1].wait(5) == -9
    assert bench.publish.fate.endswith("while it started")
    assert bench.handles[0].wait(0) is None


def test_looks_come_often_enough(bench: _Bench) -> None:
    bench.watch.look(bench.rings, 0, time.monotonic())
    assert bench.watch.due() - time.monotonic() <= 0.25
