# SPDX-License-Identifier: Apache-2.0
"""What became of a source's frames, in a clause for the log."""

from __future__ import annotations

from collections.abc import Sequence

from edged.messages import SourceState
from edged.shm.frame_table import Counts

_FATES = {
    "stale": "too old to be published",
    "overwritten": "overwritten by newer ones",
    "failed": "lost with a process that died",
    "shutdown": "lost to the shutdown",
}


def tally(counts: Counts, first: str = "") -> str:
    """Frames by what became of them: ``18 frames published, 4 could not be decoded (first: a.jpg)``.

    Args:
        counts: of the source since boot.
        first: which could not be decoded first; empty where it is not known.
    """
    parts = [f"{counts.published} frame{'s' * (counts.published != 1)} published"]
    if counts.decode_error:
        parts.append(f"{counts.decode_error} could not be decoded" + (f" (first: {first})" if first else ""))
    numbers = counts._asdict()
    parts += [f"{numbers[reason]} {words}" for reason, words in _FATES.items() if numbers[reason]]
    if counts.in_flight:
        parts.append(f"{counts.in_flight} still on the way")
    if counts.damaged:
        parts.append(f"{counts.damaged} came damaged")
    return ", ".join(parts)


def conclusion(states: Sequence[SourceState], counts: Sequence[Counts]) -> str:
    """How a run to the end has ended: that everything is published is said where it is true.

    Args:
        states: of the sources, ``ended`` or ``failed``.
        counts: of the same sources.
    """
    failed, total = states.count("failed"), Counts(*(sum(column) for column in zip(*counts, strict=True)))
    if not failed and total.published == total.captured and not total.damaged:
        return "all sources have ended and everything is published"
    if not failed:
        return f"all sources have ended: {tally(total)}"
    have = "has" if failed == 1 else "have"
    return f"no source is left, {failed} of {len(states)} {have} failed: {tally(total)}"
