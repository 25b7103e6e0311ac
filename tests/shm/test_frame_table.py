# SPDX-License-Identifier: Apache-2.0
"""Every frame is counted exactly once, whatever the order of events and whoever is killed."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from support.frame_ring import FRAME

from edged.errors import SharedMemoryError
from edged.records import FrameRecord, Ready
from edged.shm.frame_table import FrameTable
from edged.shm.lock import FileLock
from edged.shm.region import Region


class FrameRing(RuleBasedStateMachine):
    """Capture, infer, publish and the supervisor on one ring, in any order."""

    @initialize(live=st.booleans(), slots=st.integers(3, 6))
    def create(self, live: bool, slots: int) -> None:
        self.table = FrameTable.create(slots, 64, live=live)
        self.live = live
        self.slots = slots
        self.writing: int | None = None
        self.held: list[Ready] = []
        self.delivered: list[int] = []
        self.taken_ids: list[int] = []

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.table.close()

    @rule()
    def acquire(self) -> None:
        if self.writing is None:
            if self.live and len(self.held) >= self.slots - 1:
                return  # infer never holds more than K of the K + 2 slots of a live ring
            self.writing = self.table.acquire()
            if self.live:
                assert self.writing is not None

    @rule(name=st.text(max_size=300))
    def commit(self, name: str) -> None:
        if self.writing is not None:
            before = self.table.counts().captured
            frame = FrameRecord(0, 0, 1, 2, 640, 480, 4, 5, name)
            assert self.table.commit(self.writing, frame, time.monotonic_ns()) == before
            self.writing = None

    @rule()
    def broken(self) -> None:
        self.table.count_broken()

    @rule(count=st.integers(1, 4))
    def take(self, count: int) -> None:
        ready = self.table.ready()
        assert [frame.frame_id for frame in ready] == sorted(frame.frame_id for frame in ready)
        assert len(ready) <= (1 if self.live else self.slots)
        taken = self.table.take(ready[:count])
        assert taken == ready[:count]
        for frame in taken:
            assert self.table.record(7, frame.slot).source == 7
            assert frame.shape == (5, 4) or frame.shape == (32, 32)
        self.held += taken
        self.taken_ids += [frame.frame_id for frame in taken]

    @rule()
    def drop_stale(self) -> None:
        ready = self.table.ready()[:1]
        assert self.table.drop_stale(ready) == len(ready)

    @rule()
    def deliver(self) -> None:
        if self.held:
            frame = self.held.pop(0)
            self.delivered.append(frame.frame_id)
            self.table.release([frame.slot])

    @rule(published=st.booleans())
    def settle(self, published: bool) -> None:
        if self.delivered:
            before = self.table.counts()
            seq = self.table.settle(self.delivered.pop(0), published=published)
            assert seq == (before.published + 1 if published else 0)

    @rule()
    def kill_infer(self) -> None:
        lost = self.table.reclaim_taken(set(self.delivered))
        assert lost == len(self.held)
        self.held.clear()

    @rule()
    def kill_capture(self) -> None:
        self.table.reclaim_written()
        self.writing = None

    @invariant()
    def conserved(self) -> None:
        if not hasattr(self, "table"):
            return
        counts = self.table.counts()
        assert counts.in_flight == len(self.held) + len(self.delivered) + len(self.table.ready())
        assert self.taken_ids == sorted(set(self.taken_ids))


FrameRing.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestFrameRing = FrameRing.TestCase


def test_live_keeps_only_the_newest() -> None:
    table = FrameTable.create(4, 16, live=True)
    for _ in range(5):
        slot = table.acquire()
        assert slot is not None
        table.commit(slot, FRAME, 0)
    assert [frame.frame_id for frame in table.ready()] == [4]
    assert table.counts().overwritten == 4
    table.close()


def test_lossless_fills_up_in_ring_order_and_then_waits() -> None:
    table = FrameTable.create(3, 16, live=False)
    slots = []
    while (slot := table.acquire()) is not None:
        slots.append(slot)
        table.commit(slot, FRAME, 0)
    assert slots == [0, 1, 2]
    taken = table.take(table.ready())
    table.release([taken[1].slot])
    assert table.acquire() is None  # slot 0 is next; a later one would tear the order
    table.release([taken[0].slot])
    assert table.acquire() == 0
    table.close()


def test_a_file_name_travels_with_its_frame() -> None:
    table = FrameTable.create(2, 16, live=False)
    name = "größe-" + "x" * 240 + ".jpg"
    slot = table.acquire()
    assert slot is not None
    table.commit(slot, FrameRecord(0, 0, 11, 22, 640, 480, 32, 16, name), 33)
    record = table.record(3, slot)
    assert record == FrameRecord(3, 0, 11, 22, 640, 480, 32, 16, name)
    table.close()


_WRITER = """
import os, sys
from edged.records import FrameRecord
from edged.shm.frame_table import READY, FrameTable
from edged.shm.lock import FileLock
from edged.shm.region import Region
table = FrameTable(Region(int(sys.argv[1])))
table.reclaim_written()
frame = FrameRecord(0, 0, 1, 2, 640, 480, 2, 2)
os.write(1, b"!")
while True:
    slot = table.acquire()
    if slot is not None:
        table.commit(slot, frame, 0)
    table.count_broken()
"""


@pytest.mark.parametrize("live", [True, False])
def test_conservation_is_exact_over_many_kills(live: bool) -> None:
    """A writer killed at any instruction leaves a table whose sums still hold."""
    chance = random.Random(7)
    table = FrameTable.create(4, 64, live=live)
    published = 0
    for _ in range(12):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(table.region.fd)], pass_fds=[table.region.fd], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.read(1) == b"!"
        end = time.monotonic() + chance.uniform(0.01, 0.05)
        while time.monotonic() < end:
            for frame in table.take(table.ready()):
                table.release([frame.slot])
                table.settle(frame.frame_id, published=True)
                published += 1
        child.send_signal(signal.SIGKILL)
        child.wait(10)
        child.stdout.close()
        counts = table.counts()
        assert counts.published == published
        assert counts.in_flight == len(table.ready())
    assert published > 0
    assert table.counts().captured > 1000
    os.set_inheritable(table.region.fd, False)
    table.close()


def test_attaching_sees_the_same_ring() -> None:
    table = FrameTable.create(3, 48, live=True)
    other = FrameTable(Region(os.dup(table.region.fd)))
    assert other.layout == table.layout
    assert other.live
    slot = other.acquire()
    assert slot is not None
    other.commit(slot, FRAME, 5)
    assert table.ready()[0].ready_ns == 5
    other.close()
    table.close()


def test_an_impatient_party_does_not_wait_long_for_a_lock() -> None:
    """The supervisor's way: a process that was stopped with the lock in hand must not stop it too."""
    table = FrameTable.create(3, 48, live=True)
    holder = FileLock(table.region.fd)
    table.be_patient_for(0.05)
    holder.acquire()
    started = time.monotonic()
    with pytest.raises(SharedMemoryError, match=r"held for 0\.05 s"):
        table.counts()
    assert time.monotonic() - started < 5
    holder.release()
    assert table.counts().captured == 0
    holder.close()
    table.close()
