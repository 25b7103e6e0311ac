# SPDX-License-Identifier: Apache-2.0
"""Whether it pays to wait for more frames before a batch closes. Pure arithmetic."""

from __future__ import annotations

from collections.abc import Callable, Sequence


def worth_waiting_ns(have: int, room: int, after_ns: Sequence[float], cost_ns: Callable[[int], int]) -> float:
    """How long to wait for company; 0 where closing now is better.

    A batch of n frames costs c(n) on an idle device. With k more frames expected, the last of them after a time d:

    - closing now, the n frames are done after c(n), and the k go together when the device is free again: the ages of
      all add up to ``n·c(n) + k·(c(n) + c(k))``, less what the k came later;
    - waiting, all of them are done after ``d + c(n + k)``: ``(n + k)·(d + c(n + k))``, less the same.

    So waiting saves the difference; with ``c(n) = a + b·n`` it pays where ``d < k·(a − b·n) / (n + k)``. Where a batch
    costs next to nothing by itself it never does, and where the newcomers come after the device is free again, they
    lose nothing by not being waited for.

    Args:
        have: frames that wait.
        room: most frames of a batch, less those.
        after_ns: when further frames are expected, from now, soonest first.
        cost_ns: of a batch of so many frames on an idle device.
    """
    alone = cost_ns(have)
    best, saved = 0.0, 0.0
    for more, after in enumerate(after_ns[:room], 1):
        if after >= alone:
            break
        together = have + more
        gain = have * alone + more * (alone + cost_ns(more)) - together * (cost_ns(together) + after)
        if gain > saved:
            best, saved = after, gain
    return best
