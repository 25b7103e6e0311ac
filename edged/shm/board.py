# SPDX-License-Identifier: Apache-2.0
"""The board: what the family's processes tell the supervisor about their work, one row a process.

A row has one writer. Rows outlive the process that wrote them, so that figures and sequence numbers go on when a
process is replaced.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from edged.shm.region import Region
from edged.shm.tally import TALLY_WORDS, Tally

CAPTURE_STAGES = ("decode", "fit", "hand-over")
INFER_STAGES = ("collate", "submit", "infer", "deliver")
PUBLISH_STAGES = ("take", "postprocess", "send")
VERIFY_STAGES = ("reference", "compare")
_ROW_WORDS = 32
_BEATS, _BEAT_NS, _SPARE, _STAGES = 0, 1, 2, 8
_STAGE_WORDS = 3
PUBLISH_ROW, INFER_ROW, FIRST_CAPTURE_ROW = 0, 1, 2
HANDED_OVER, HANDED_OVER_NS = 0, 1
"""Spare words of infer's row: 1 + the generation that delivered all it had and gave way to the next one; and when that
was (CLOCK_MONOTONIC)."""
MOST_SOURCES = 256
VERIFY_ROW = FIRST_CAPTURE_ROW + MOST_SOURCES
ROWS = VERIFY_ROW + 1


class StageTime(NamedTuple):
    """Cumulative time of a stage: how often it ran, wall and CPU time in nanoseconds, without stages inside it."""

    runs: int
    wall_ns: int
    cpu_ns: int


class Board:
    """Rows of words in shared memory."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self._words = region.words(0, region.size // 8)

    @classmethod
    def create(cls, rows: int) -> Board:
        """Make a board with ``rows`` rows."""
        return cls(Region.create("edged-board", 8 * (_ROW_WORDS * rows + TALLY_WORDS)))

    def row(self, index: int) -> Row:
        """One row."""
        start = _ROW_WORDS * index
        return Row(self._words[start : start + _ROW_WORDS])

    @property
    def tally(self) -> Tally:
        """How old what was published was."""
        return Tally(self._words[-TALLY_WORDS:])

    def close(self) -> None:
        """Release the mapping."""
        self._words.release()
        self.region.close()


class Row:
    """One process's row: a heartbeat of completed work, some spare words, and stage times."""

    def __init__(self, words: memoryview) -> None:
        self._words = words

    def beat(self) -> None:
        """Note that a piece of work was completed."""
        self._words[_BEATS] += 1
        self._words[_BEAT_NS] = time.monotonic_ns()

    def clear(self) -> None:
        """Forget everything: the row gets another process's work to hold."""
        for index in range(len(self._words)):
            self._words[index] = 0

    @property
    def beats(self) -> int:
        """Pieces of work completed so far."""
        return self._words[_BEATS]

    def word(self, index: int) -> int:
        """A spare word, 0 to 5."""
        return self._words[_SPARE + index]

    def set_word(self, index: int, value: int) -> None:
        """Set a spare word, 0 to 5."""
        self._words[_SPARE + index] = value

    def add(self, stage: int, wall_ns: int, cpu_ns: int) -> None:
        """Add one run of a stage."""
        at = _STAGES + _STAGE_WORDS * stage
        self._words[at] += 1
        self._words[at + 1] += wall_ns
        self._words[at + 2] += cpu_ns

    def take_off(self, stage: int, wall_ns: int, cpu_ns: int) -> None:
        """Take time off a stage that belongs to another one that ran inside it."""
        at = _STAGES + _STAGE_WORDS * stage
        self._words[at + 1] -= wall_ns
        self._words[at + 2] -= cpu_ns

    def times(self, names: Sequence[str]) -> dict[str, StageTime]:
        """The stages' times so far, by name."""
        words, width = self._words, _STAGE_WORDS
        starts = [_STAGES + width * index for index in range(len(names))]
        return {name: StageTime(*words[at : at + width]) for name, at in zip(names, starts, strict=True)}

    @contextmanager
    def timed(self, stage: int) -> Iterator[None]:
        """Add the time of the enclosed block to a stage."""
        wall, cpu = time.monotonic_ns(), time.process_time_ns()
        try:
            yield
        finally:
            self.add(stage, time.monotonic_ns() - wall, time.process_time_ns() - cpu)
