# SPDX-License-Identifier: Apache-2.0
"""What waits in a frame table, and who takes it."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from support.frame_ring import FRAME, fill

from edged.shm.frame_table import READY, FrameTable
from edged.shm.region import Region


def test_taking_frees_spent_slots_under_the_same_lock() -> None:
    table = FrameTable.create(2, 48, live=False)
    fill(table, 2)
    first = table.take(table.ready()[:1])
    assert table.acquire() is None
    assert [frame.frame_id for frame in table.take(table.ready(), [first[0].slot])] == [1]
    assert table.acquire() == 0
    table.close()


def test_a_frame_that_is_not_as_it_was_said_to_be_is_not_taken() -> None:
    """A look without the lock may give torn words; in a lossless ring nothing overtakes such a frame."""
    for live in (True, False):
        table = FrameTable.create(4, 48, live=live)
        fill(table, 1 if live else 3)
        frames = table.ready()
        torn = [frames[0]._replace(captured_ns=77), *frames[1:]]
        assert table.take(torn) == []
        assert table.take(frames) == frames
        table.close()


def test_a_frame_that_is_not_as_it_was_said_to_be_is_left_and_looked_at_again() -> None:
    table = FrameTable.create(4, 48, live=False)
    fill(table, 3)
    table.take(table.ready()[:1])
    first, second = table.ready()
    torn = first._replace(captured_ns=first.captured_ns + 1)
    assert table.take([torn, second]) == []
    assert not table.take_one(torn)
    assert table.take(table.ready()) == [first, second]
    table.close()


def test_two_that_take_from_one_lossless_ring_both_see_the_oldest_frame_first() -> None:
    """As when a second infer process follows the first."""
    table = FrameTable.create(3, 48, live=False)
    other = FrameTable(Region(os.dup(table.region.fd)))
    fill(table, 3)
    ids = []
    for taker in (table, other, other, table, other, table, table):
        taken = taker.take(taker.ready()[:1])
        ids += [frame.frame_id for frame in taken]
        taker.release([frame.slot for frame in taken])
        fill(table, 1)
    assert ids == list(range(7))
    other.close()
    table.close()


def commit_one(table: FrameTable) -> None:
    slot = table.acquire()
    if slot is not None:
        table.commit(slot, FRAME, 5)


STEPS = ["commit", "take", "take one", "look", "other takes", "release"]


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3))))
def test_what_waits_is_what_the_table_says_however_it_came_about(steps: list[tuple[str, int]]) -> None:
    """`ready` remembers its last look; a table that was just opened does not."""
    table = FrameTable.create(4, 48, live=False)
    other = FrameTable(Region(os.dup(table.region.fd)))
    held: list[int] = []
    for kind, count in steps:
        if kind == "commit":
            commit_one(table)
        elif kind == "look":
            before = table.ready()
            kept = list(before)
            commit_one(table)
            table.ready()
            assert before == kept, "a list that was handed out changed"
        elif kind == "release":
            table.release(held)
            held.clear()
        elif kind == "take one":
            # Slots are freed under the same lock.
            waiting, spent = table.ready(), held[:count]
            if waiting:
                assert table.take_one(waiting[0], spent)
                assert not table.take_one(waiting[0])
                held = [*held[count:], waiting[0].slot]
        else:
            taker = table if kind == "take" else other
            held += [frame.slot for frame in taker.take(taker.ready()[:count])]
        with table._table.locked():
            there = [table._describe(slot) for slot in table._in_state(READY)]
        assert table.ready() == there
    other.close()
    table.close()
