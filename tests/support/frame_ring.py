# SPDX-License-Identifier: Apache-2.0
"""Frames for a frame table."""

from __future__ import annotations

from edged.records import FrameRecord
from edged.shm.frame_table import FrameTable

FRAME = FrameRecord(0, 0, 1, 2, 640, 480, 32, 32)


def fill(table: FrameTable, count: int) -> None:
    for _ in range(count):
        slot = table.acquire()
        assert slot is not None
        table.commit(slot, FRAME, 5)
