# SPDX-License-Identifier: Apache-2.0
"""Keeping the accounts: what a dead child left is put in order; at the end, what has not made it is counted."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from edged.runtime.members import Member
from edged.runtime.rings import Rings

_LOG = logging.getLogger("edged")


def wait_for_results(rings: Rings, pause: Callable[[], object], deadline_s: float) -> None:
    """Wait until publish has taken every result, at most the time given.

    Args:
        rings: of the daemon.
        pause: waits a moment.
        deadline_s: seconds.

    Raises:
        SharedMemoryError: a process was stopped with a lock in hand.
    """
    end = time.monotonic() + deadline_s
    while rings.outputs.delivered() and time.monotonic() < end:
        pause()


def close_accounts(rings: Rings, names: Sequence[str]) -> None:
    """What has not been published by now will not be: it counts as lost to the shutdown.

    Raises:
        SharedMemoryError: a process was stopped with a lock in hand.
    """
    for name, table in zip(names, rings.frames, strict=True):
        lost = table.count_shutdown()
        if lost:
            _LOG.info("%d frame(s) of source %s were still on their way", lost, name)


def repair(rings: Rings, dead: Member, names: Sequence[str]) -> None:
    """Put in order what a dead child left in shared memory.

    Raises:
        SharedMemoryError: a process was stopped with a lock in hand.
    """
    if dead.source >= 0:
        rings.frames[dead.source].reclaim_written()
    elif dead.role == "infer":
        delivered = rings.outputs.delivered()
        for index, (seat, table) in enumerate(zip(rings.seats, rings.frames, strict=True)):
            lost = table.reclaim_taken(delivered.get(seat, set()))
            if lost:
                _LOG.warning("%d frame(s) of source %s were lost with infer", lost, names[index])
        rings.wake_all()
