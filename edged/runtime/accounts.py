# SPDX-License-Identifier: Apache-2.0
"""Closing the accounts at the end of a run: wait for the last results, then count what has not made it."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

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
