# SPDX-License-Identifier: Apache-2.0
"""Sources come and go in shared memory: seats, counters that go on, and nothing left behind."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from support.open_files import open_files

from edged.records import FrameRecord, TensorSpec
from edged.runtime.rings import Rings
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout

LAYOUT = OutputLayout(3, 2, (TensorSpec("a", "float32", (1,)),))
FRAME = FrameRecord(0, 0, 1, 2, 8, 8, 8, 8)


def publish_one(table: FrameTable) -> int:
    """A frame's whole life; returns its sequence number."""
    slot = table.acquire()
    assert slot is not None
    frame_id = table.commit(slot, FRAME, 0)
    table.release([frame.slot for frame in table.take(table.ready())])
    return table.settle(frame_id, published=True)


def mapped_memory() -> set[int]:
    """Inodes of the shared memory that this process has mapped."""
    lines = (line.split() for line in Path("/proc/self/maps").read_text().splitlines())
    return {int(line[4]) for line in lines if len(line) > 5 and "memfd:edged-" in line[5]}


@settings(deadline=None, max_examples=25)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 3)), max_size=20))
def test_whoever_comes_back_goes_on_counting(steps: list[tuple[bool, int]]) -> None:
    before = open_files("memfd:edged-")
    rings = Rings([True], slots=2, frame_bytes=192, outputs=LAYOUT, verify=True)
    names, seqs = ["first"], {"first": 0}
    histories: dict[str, tuple[int, ...]] = {}
    for come, number in steps:
        name = f"source {number}"
        if come and name not in names:
            seat_of = dict(zip(names, rings.seats, strict=True))
            assert rings.add(number % 2 == 0, histories.pop(name, ())) == len(names)
            names.append(name)
            seqs.setdefault(name, 0)
            # Those that were there keep their seats, and no two share one.
            assert dict(zip(names, rings.seats, strict=True)).items() >= seat_of.items()
            assert len(set(rings.seats)) == len(names)
        elif not come and name in names:
            index = names.index(name)
            names.remove(name)
            histories[name] = rings.remove(index)
        for each, table in zip(names, rings.frames, strict=True):
            seqs[each] += 1
            assert publish_one(table) == seqs[each]
            assert table.counts().in_flight == 0
            assert table.counts().published == seqs[each]
    assert len(rings.samples) == len(rings.spaces) == len(rings.origins) == len(names)
    rings.close()
    assert not open_files("memfd:edged-") - before


def test_a_seat_that_is_given_to_another_shows_nothing_of_the_one_before() -> None:
    rings = Rings([True, True], slots=2, frame_bytes=192, outputs=LAYOUT)
    rings.board.row(rings.capture_row(0)).add(0, 5, 5)
    rings.remove(0)
    assert rings.seats == [1]
    index = rings.add(True)
    assert (index, rings.seats, rings.index_of(0)) == (1, [1, 0], 1)
    assert rings.board.row(rings.capture_row(1)).times(["decode"])["decode"].runs == 0
    assert rings.origins == [0, 0]
    own = {os.fstat(table.region.fd).st_ino for table in rings.frames}
    assert len(own & mapped_memory()) == 2
    rings.close()
    # Only its own: what other tests of this process let go of is unmapped whenever it is collected.
    assert not own & mapped_memory()
