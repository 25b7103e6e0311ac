# SPDX-License-Identifier: Apache-2.0
"""What a capture process is at, as the supervisor reads it."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from edged.shm.board import Board, Row
from edged.stages.capture.progress import Phase, Progress, Standing


@pytest.fixture
def row() -> Iterator[Row]:
    board = Board.create(1)
    yield board.row(0)
    board.region.close()


def test_a_fresh_row_says_nothing(row: Row) -> None:
    assert Progress(row).standing() == Standing()


def test_phases_and_since_when(row: Row) -> None:
    writer, reader = Progress(row), Progress(row)
    for enter, phase in (
        (writer.opening, Phase.OPENING),
        (writer.expect, Phase.EXPECTING),
        (writer.wait, Phase.WAITING),
        (writer.arrived, Phase.EXPECTING),
        (writer.rest, Phase.IDLE),
    ):
        before = time.monotonic()
        enter()
        standing = reader.standing()
        assert standing.phase is phase
        assert before - 1e-6 <= standing.since_s <= time.monotonic() + 1e-6
    assert reader.standing().frames == 1


def test_the_usual_interval_is_the_median_without_waits(row: Row) -> None:
    progress = Progress(row)
    progress.expect()
    for pause in (0.02, 0.2, 0.02):
        assert progress.standing().interval_s == 0.0
        time.sleep(pause)
        progress.arrived()
    assert progress.standing().interval_s == pytest.approx(0.02, abs=0.015)
    for _ in range(3):
        progress.wait()
        time.sleep(0.1)
        progress.expect()
        progress.arrived()
    assert progress.standing().interval_s < 0.05
    progress.opening()
    assert Progress(row).standing().interval_s > 0.0  # until there is a better guess


def test_a_picture_among_broken_ones_is_no_progress(row: Row) -> None:
    progress = Progress(row)
    progress.expect()
    before = progress.standing()
    for _ in range(20):
        progress.broken()
        progress.broken()
        progress.arrived()
    assert progress.standing() == before._replace(broken=40)
    for _ in range(5):
        progress.arrived()
    progress.arrived()
    assert progress.standing().frames in (1, 2)
    assert progress.standing().since_s > before.since_s


def test_a_frame_that_kills_is_known_to_whoever_comes_next(row: Row) -> None:
    for number in range(1, 4):
        progress = Progress(row)
        assert progress.deaths(7) == number - 1
        progress.attempt(7)
        Progress(row).clear(excuse=False)
    assert Progress(row).deaths(7) == 3
    assert Progress(row).deaths(6) == Progress(row).deaths(8) == 0
    Progress(row).clear(excuse=True)
    assert Progress(row).deaths(7) == 0


def test_a_frame_that_was_read_killed_nobody(row: Row) -> None:
    for position in (0, 0, 0, 1):
        progress = Progress(row)
        progress.attempt(position)
        progress.survived()
        assert progress.deaths(position) == 0
