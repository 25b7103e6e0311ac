# SPDX-License-Identifier: Apache-2.0
"""Sequence numbers that outlive the publish process."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from edged.messages import EVENT, HEALTH, STATS, THERMAL
from edged.runtime.sequences import SharedSequences
from edged.shm.board import PUBLISH_ROW, Board
from edged.shm.frame_table import FrameTable


@pytest.fixture
def shared() -> Iterator[tuple[Board, FrameTable]]:
    board, table = Board.create(3), FrameTable.create(3, 16, live=True)
    yield board, table
    table.close()


def test_each_topic_counts_for_itself(shared: tuple[Board, FrameTable]) -> None:
    board, table = shared
    sequences = SharedSequences(board.row(PUBLISH_ROW), [("north", table)])
    assert sequences.last() == {}
    assert [sequences.next(topic) for topic in (HEALTH, HEALTH, EVENT, STATS, THERMAL, HEALTH)] == [1, 2, 1, 1, 1, 3]
    table.settle(0, published=True)
    table.settle(1, published=False)
    table.settle(2, published=True)
    assert sequences.last() == {"v1/predictions/north/": 2, HEALTH: 3, EVENT: 1, STATS: 1, THERMAL: 1}


def test_numbers_go_on_when_publish_is_replaced(shared: tuple[Board, FrameTable]) -> None:
    board, table = shared
    for number in range(1, 4):
        sequences = SharedSequences(board.row(PUBLISH_ROW), [("north", table)])
        assert sequences.next(HEALTH) == number
        assert table.settle(number, published=True) == number
    assert sequences.last() == {"v1/predictions/north/": 3, HEALTH: 3}


def test_the_stage_times_beside_them_stay_as_they_are(shared: tuple[Board, FrameTable]) -> None:
    row = shared[0].row(PUBLISH_ROW)
    row.add(0, 5, 4)
    row.beat()
    SharedSequences(row, []).next(STATS)
    assert row.times(["take"])["take"] == (1, 5, 4)
    assert row.beats == 1
