# SPDX-License-Identifier: Apache-2.0
"""What each process tells of its work."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

from edged.shm.board import CAPTURE_STAGES, FIRST_CAPTURE_ROW, INFER_STAGES, PUBLISH_STAGES, Board
from edged.shm.region import Region


@pytest.fixture
def board() -> Iterator[Board]:
    made = Board.create(FIRST_CAPTURE_ROW + 2)
    yield made
    made.region.close()


def test_rows_do_not_touch_one_another(board: Board) -> None:
    rows = [board.row(index) for index in range(4)]
    for number, row in enumerate(rows, 1):
        for word in range(6):
            row.set_word(word, 100 * number + word)
        for stage in range(4):
            row.add(stage, number, 10 * number)
        for _ in range(number):
            row.beat()
    for number, row in enumerate(rows, 1):
        assert [row.word(word) for word in range(6)] == [100 * number + word for word in range(6)]
        assert set(row.times(INFER_STAGES).values()) == {(1, number, 10 * number)}
        assert row.beats == number


@pytest.mark.parametrize("stages", [CAPTURE_STAGES, INFER_STAGES, PUBLISH_STAGES])
def test_every_stage_has_its_place(board: Board, stages: tuple[str, ...]) -> None:
    row = board.row(0)
    for stage in range(len(stages)):
        row.add(stage, stage + 1, stage + 2)
        row.add(stage, stage + 1, stage + 2)
    assert row.times(stages) == {name: (2, 2 * (at + 1), 2 * (at + 2)) for at, name in enumerate(stages)}


def test_figures_outlive_the_process_that_wrote_them(board: Board) -> None:
    board.row(1).add(0, 5, 5)
    board.row(1).set_word(3, 9)
    again = Board(Region(os.dup(board.region.fd)))
    again.row(1).add(0, 5, 5)
    assert board.row(1).times(["collate"]) == {"collate": (2, 10, 10)}
    assert again.row(1).word(3) == 9
    again.region.close()


def test_a_timed_block_counts_also_when_it_fails(board: Board) -> None:
    row = board.row(2)
    with row.timed(1):
        time.sleep(0.01)
    with pytest.raises(ValueError, match="broken"), row.timed(1):
        raise ValueError("broken")
    runs, wall_ns, cpu_ns = row.times(CAPTURE_STAGES)["fit"]
    assert runs == 2
    assert 10_000_000 <= wall_ns < 2_000_000_000
    assert cpu_ns >= 0


def test_a_closed_board_lets_go_of_its_memory() -> None:
    board = Board.create(3)
    board.close()
    assert board.region.fd == -1
