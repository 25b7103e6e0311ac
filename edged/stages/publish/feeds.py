# SPDX-License-Identifier: Apache-2.0
"""The sources as publish sees them, and how old their messages of the last seconds were."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from edged.shm.frame_table import AGE_P50_US, AGE_P99_US, RATE_MILLIHZ, FrameTable
from edged.stages.publish.hand_over import HandOver

_RECENT_NS = 5_000_000_000
_RECENT_FRAMES = 1024


@dataclass(slots=True)
class Feed:
    """One source, as publish sees it.

    Attributes:
        name: of the source.
        table: its ring's counters.
        max_age_ns: results older than this are dropped; None for lossless sources.
        hand_over: takes what the verify process is to look at; None where there is none.
    """

    name: str
    table: FrameTable
    max_age_ns: int | None
    hand_over: HandOver | None = None


class RecentAges:
    """Ages of the last seconds' messages of one source, for health."""

    def __init__(self) -> None:
        self._ages: deque[tuple[int, int]] = deque(maxlen=_RECENT_FRAMES)

    def add(self, now_ns: int, age_ns: int) -> None:
        """Note a published message."""
        self._ages.append((now_ns, age_ns))

    def store(self, table: FrameTable, now_ns: int) -> None:
        """Write rate and percentiles where the supervisor reads them; -1 where there is nothing to tell."""
        while self._ages and now_ns - self._ages[0][0] > _RECENT_NS:
            self._ages.popleft()
        words = table.words
        if not self._ages:
            words[AGE_P50_US], words[AGE_P99_US], words[RATE_MILLIHZ] = -1, -1, 0
            return
        ages = sorted(age for _, age in self._ages)
        words[AGE_P50_US] = ages[len(ages) // 2] // 1000
        words[AGE_P99_US] = ages[min(len(ages) - 1, len(ages) * 99 // 100)] // 1000
        span = self._ages[-1][0] - self._ages[0][0]
        # Intervals over their span: unlike frames over a window it does not jump as frames enter and leave.
        words[RATE_MILLIHZ] = int((len(ages) - 1) * 1e12 / span) if span > 0 else 0
