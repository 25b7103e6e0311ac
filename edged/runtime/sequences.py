# SPDX-License-Identifier: Apache-2.0
"""Sequence numbers in shared memory: they go on when the publish process is replaced."""

from __future__ import annotations

from collections.abc import Sequence

from edged.messages import EVENT, HEALTH, STATS, THERMAL, predictions_topic
from edged.shm.board import Row
from edged.shm.frame_table import SEQ, FrameTable

_WORDS = {HEALTH: 0, EVENT: 1, STATS: 2, THERMAL: 3}


class SharedSequences:
    """Numbers of the daemon's own topics in publish's row of the board, those of predictions in each source's ring.

    Args:
        row: publish's row.
        sources: name and ring of every source.
    """

    def __init__(self, row: Row, sources: Sequence[tuple[str, FrameTable]]) -> None:
        self._row = row
        self._sources = {predictions_topic(name): table for name, table in sources}

    def add(self, name: str, table: FrameTable) -> None:
        """Count a source in, or give it another ring."""
        self._sources[predictions_topic(name)] = table

    def remove(self, name: str) -> None:
        """Forget a source; when it comes back, its ring will know where it was."""
        self._sources.pop(predictions_topic(name), None)

    def next(self, topic: str) -> int:
        """The next number of one of the daemon's own topics; predictions are numbered when they are settled."""
        word = _WORDS[topic]
        number = self._row.word(word) + 1
        self._row.set_word(word, number)
        return number

    def last(self) -> dict[str, int]:
        """The number given out last, by topic; topics on which nothing was sent yet are left out."""
        found = {topic: table.words[SEQ] for topic, table in self._sources.items()}
        found.update({topic: self._row.word(word) for topic, word in _WORDS.items()})
        return {topic: number for topic, number in found.items() if number}
