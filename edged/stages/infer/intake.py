# SPDX-License-Identifier: Apache-2.0
"""The frame rings as the infer loop sees them: what waits there, what it takes, and the slots it gives back."""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from typing import cast

from edged.records import Ready
from edged.shm.frame_table import COMMITS, ENDED
from edged.shm.wake import Wake
from edged.stages.infer.pipeline import Source

Picks = Sequence[tuple[int, Ready]]
_NONE: tuple[int, ...] = ()


class Intake:
    """Takes frames from the rings.

    A slot whose frame is inferred is freed under the lock under which its source's next frame is taken, or by
    `release`.

    Args:
        sources: by index.

    Attributes:
        ended: the sources from which nothing more comes.
    """

    def __init__(self, sources: Mapping[int, Source]) -> None:
        self._tables = {index: source.table for index, source in sources.items()}
        self._words = {index: table.words for index, table in self._tables.items()}
        self._writers = {index: Wake(source.wake_writer) for index, source in sources.items()}
        self._seen = dict.fromkeys(sources, -1)
        self._waiting: dict[int, list[Ready]] = {}
        self._spent: dict[int, list[int]] = {}
        self.ended: Container[int] = _Ended(self._words)

    def add(self, index: int, source: Source) -> None:
        """Look at one more source from now on."""
        self._tables[index], self._words[index] = source.table, source.table.words
        self._writers[index], self._seen[index] = Wake(source.wake_writer), -1

    def retire(self, index: int) -> None:
        """Take nothing more of a source: what waits in its ring stays there."""
        self._words.pop(index, None)
        self._waiting.pop(index, None)

    def remove(self, index: int) -> bool:
        """Forget a source that was retired; False as long as slots of it are to be given back."""
        if index in self._spent:
            return False
        del self._tables[index], self._writers[index], self._seen[index]
        return True

    def forget(self) -> None:
        """Forget what waited when this was last looked at: another process has taken frames since."""
        self._waiting.clear()
        self._seen = dict.fromkeys(self._tables, -1)

    def spend(self, held: Mapping[int, list[int]]) -> None:
        """Note slots, by source, whose frames are inferred."""
        spent = self._spent
        for source, slots in held.items():
            spent[source] = spent[source] + slots if source in spent else slots

    def release(self) -> None:
        """Free the slots that were noted and are not yet free, and tell the sources that wait for space."""
        while self._spent:
            source, slots = self._spent.popitem()
            table = self._tables[source]
            if slots:
                table.release(slots)
            if not table.live:
                self._writers[source].set()

    def look(self) -> Mapping[int, Sequence[Ready]]:
        """The frames that wait, by source; rings are looked into where something changed since the last look."""
        seen = self._seen
        for index, words in self._words.items():
            commits = words[COMMITS]
            if commits != seen[index]:
                seen[index] = commits
                frames = self._tables[index].ready()
                if frames:
                    self._waiting[index] = frames
                else:
                    self._waiting.pop(index, None)
        return self._waiting

    def take(self, batch: Picks, stale: Picks) -> list[tuple[int, Ready]]:
        """Take the frames of a batch, and drop others.

        Args:
            batch: each frame with its source; those of a source lie side by side.
            stale: those that are too old.

        Returns:
            Those of the batch that could be taken: others were overwritten meanwhile.
        """
        for source, frames in _by_source(stale).items():
            if self._tables[source].drop_stale(frames) < len(frames):
                self._seen[source] = -1
            self._strike(source, frames)
        picks: list[tuple[int, Ready]] = []
        place, count = 0, len(batch)
        while place < count:
            pick = batch[place]
            if place + 1 < count and batch[place + 1][0] == pick[0]:
                place = self._take_several(batch, place, picks)
            else:
                self._take_one(pick, picks)
                place += 1
        return picks

    def _take_one(self, pick: tuple[int, Ready], picks: list[tuple[int, Ready]]) -> None:
        """Take the only frame of a source in a batch."""
        source, frame = pick
        spent = self._spent.get(source, _NONE)
        if self._tables[source].take_one(frame, spent):
            picks.append(pick)
        else:
            self._seen[source] = -1
        if spent:
            # Noted as an empty list: its source is still to be told of the space.
            self._spent[source] = []
        waiting = self._waiting
        if len(waiting[source]) == 1:
            del waiting[source]
        else:
            waiting[source] = waiting[source][1:]

    def _take_several(self, batch: Picks, place: int, picks: list[tuple[int, Ready]]) -> int:
        """Take the frames of the source at a place of a batch, which lie side by side; returns the next one's."""
        first, source = place, batch[place][0]
        frames: list[Ready] = []
        while place < len(batch) and batch[place][0] == source:
            frames.append(batch[place][1])
            place += 1
        spent = self._spent.get(source, _NONE)
        taken = self._tables[source].take(frames, spent)
        if spent:
            self._spent[source] = []
        if len(taken) == len(frames):
            picks += batch[first:place]
        else:
            self._seen[source] = -1
            picks += [(source, frame) for frame in taken]
        self._strike(source, frames)
        return place

    def _strike(self, source: int, frames: list[Ready]) -> None:
        waiting = self._waiting[source]
        if len(frames) == len(waiting):
            del self._waiting[source]
            return
        gone = {frame.frame_id for frame in frames}
        self._waiting[source] = [frame for frame in waiting if frame.frame_id not in gone]


def _by_source(picks: Picks) -> dict[int, list[Ready]]:
    grouped: dict[int, list[Ready]] = {}
    for source, frame in picks:
        grouped.setdefault(source, []).append(frame)
    return grouped


class _Ended:
    """The sources from which nothing more comes, by index; looked up only where somebody asks."""

    def __init__(self, words: Mapping[int, memoryview]) -> None:
        self._words = words

    def __contains__(self, source: object) -> bool:
        return source not in self._words or bool(self._words[cast("int", source)][ENDED])
