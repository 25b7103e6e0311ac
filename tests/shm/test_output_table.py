# SPDX-License-Identifier: Apache-2.0
"""The ring of results: first in, first out, whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from edged.records import FrameRecord, TensorSpec, View
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import BatchTimes, OutputLayout, OutputTable
from edged.shm.region import Region

SPECS = (TensorSpec("a", "float32", (2,)), TensorSpec("b", "uint8", (3, 5), fixed=False))
FRAMES = st.builds(
    FrameRecord,
    source=st.integers(0, 2),
    frame_id=st.integers(0, 2**62),
    captured_ns=st.integers(0, 2**62),
    captured_at_ns=st.integers(0, 2**62),
    width=st.integers(1, 99999),
    height=st.integers(1, 99999),
    input_width=st.integers(1, 16384),
    input_height=st.integers(1, 16384),
    file=st.text(max_size=300),
)


class OutputRing(RuleBasedStateMachine):
    """Infer, publish and the supervisor on one ring, in any order."""

    @initialize(slots=st.integers(1, 4))
    def create(self, slots: int) -> None:
        self.slots = slots
        self.layout = OutputLayout(slots, 3, SPECS)
        self.table = OutputTable.create(self.layout)
        self.ready: list[tuple[int, list[FrameRecord], BatchTimes, tuple[int, int]]] = []

    def teardown(self) -> None:
        if hasattr(self, "table"):
            self.table.close()

    @rule(
        frames=st.lists(FRAMES, min_size=1, max_size=3),
        times=st.builds(BatchTimes, *[st.integers(0, 2**62)] * 3),
        shape=st.tuples(st.integers(0, 3), st.integers(0, 5)),
        killed=st.booleans(),
    )
    def deliver(self, frames: list[FrameRecord], times: BatchTimes, shape: tuple[int, int], killed: bool) -> None:
        free = self.table.free_slots()
        if not free:
            return
        slot = free[0]
        self.table.describe(slot, frames)
        self.table.set_shape(slot, 1, shape)
        if killed:
            return  # infer was killed before it delivered: the slot stays free and is filled anew
        self.table.deliver(slot, times)
        self.ready.append((slot, frames, times, shape))

    @rule(killed=st.booleans())
    def publish(self, killed: bool) -> None:
        slot = self.table.oldest()
        assert (slot is None) == (not self.ready)
        if slot is None:
            return
        expected, frames, times, shape = self.ready[0]
        assert slot == expected
        assert self.table.times(slot) == times
        assert (self.table.shape(slot, 0), self.table.shape(slot, 1)) == ((2,), shape)
        for found, frame in zip(self.table.frames(slot), frames, strict=True):
            cut = frame.file.encode()[:256].decode(errors="ignore")
            assert found.file == cut
            assert found.__class__ is FrameRecord
            assert (found.source, found.frame_id, found.captured_ns) == (
                frame.source,
                frame.frame_id,
                frame.captured_ns,
            )
            assert (found.width, found.input_height) == (frame.width, frame.input_height)
        if not killed:  # else publish was killed before it released: the batch is read again
            self.table.release(slot)
            del self.ready[0]

    @rule()
    def attach(self) -> None:
        other = OutputTable(Region(os.dup(self.table.region.fd)), self.layout)
        assert other.oldest() == (self.ready[0][0] if self.ready else None)
        other.close()

    @invariant()
    def consistent(self) -> None:
        if not hasattr(self, "table"):
            return
        held = [slot for slot, *_ in self.ready]
        assert sorted([*held, *self.table.free_slots()]) == list(range(self.slots))
        expected: dict[int, set[int]] = {}
        for _, frames, _, _ in self.ready:
            for frame in frames:
                expected.setdefault(frame.source, set()).add(frame.frame_id)
        assert self.table.delivered() == expected


OutputRing.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestOutputRing = OutputRing.TestCase


_WRITER = """
import os, sys
from edged.records import FrameRecord, TensorSpec, View
from edged.shm.output_table import BatchTimes, OutputLayout, OutputTable
from edged.shm.region import Region
table = OutputTable(Region(int(sys.argv[1])), OutputLayout(3, 1, (TensorSpec("a", "int64", (1,)),)))
number = int(sys.argv[2])
os.write(1, b"!")
while True:
    free = table.free_slots()
    if free:
        table.describe(free[0], [FrameRecord(0, number, 1, 2, 3, 4, 5, 6)])
        table.deliver(free[0], BatchTimes(number, 0, 0))
        number += 1
"""


def test_results_stay_whole_and_in_order_over_many_kills_of_the_writer() -> None:
    chance = random.Random(3)
    table = OutputTable.create(OutputLayout(3, 1, (TensorSpec("a", "int64", (1,)),)))
    fd = table.region.fd
    last = -1
    for _ in range(6):
        child = subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(fd), str(last + 1)], pass_fds=[fd], stdout=subprocess.PIPE
        )
        assert child.stdout is not None
        assert child.stdout.read(1) == b"!"
        enough, end, alive = last + chance.randint(1, 50), 0.0, True
        while alive or table.oldest() is not None:
            if not end and last >= enough:
                end = time.monotonic() + chance.uniform(0.0, 0.001)
            if alive and end and time.monotonic() > end:
                child.send_signal(signal.SIGKILL)
                child.wait(10)
                child.stdout.close()
                alive = False
            slot = table.oldest()
            if slot is not None:
                (frame,) = table.frames(slot)
                assert frame.frame_id == last + 1 == table.times(slot).closed_ns
                last = frame.frame_id
                table.release(slot)
    assert sorted(table.free_slots()) == [0, 1, 2]
    table.close()


def test_frames_are_described_straight_from_their_rings_as_from_their_records() -> None:
    table = OutputTable.create(OutputLayout(2, 3, SPECS))
    rings = [FrameTable.create(2, 16, live=False) for _ in range(2)]
    taken, records = [], []
    for source, name in ((1, "größe-" + "x" * 260 + ".jpg"), (0, ""), (1, "b.jpg")):
        ring = rings[source]
        slot = ring.acquire()
        assert slot is not None
        ring.commit(slot, FrameRecord(source, 0, 11 + source, 22, 640, 480, 32, 16, name, View(source)), 33)
        taken.append((source, ring, slot))
        records.append(ring.record(source, slot))
    table.describe(0, records)
    table.describe_taken(1, taken)
    assert table.frames(1) == table.frames(0) == records
    assert (table.free_slot(), table.free_slot([0]), table.free_slot([0, 1])) == (0, 1, None)
    table.deliver(0, BatchTimes(1, 2, 3))
    assert (table.free_slot(), table.free_slots()) == (1, [1])
    table.close()
    for ring in rings:
        ring.close()
