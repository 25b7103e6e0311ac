# SPDX-License-Identifier: Apache-2.0
"""Putting together what HTTP shows, from what the supervisor tells anyway."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edged.runtime.audience import Audience
from edged.runtime.members import Member
from edged.runtime.rings import Rings
from edged.runtime.sequences import SharedSequences
from edged.runtime.web_pages import Shown
from edged.shm.board import PUBLISH_ROW


def shown(
    bodies: Mapping[str, Mapping[str, Any] | None], names: Sequence[str], members: Sequence[Member], rings: Rings
) -> Shown:
    """What to answer from now on.

    Args:
        bodies: what was told to publish, by kind of note: ``health``, ``stats``, ``thermal``.
        names: of the sources.
        members: the family; those without a source must be at work for the daemon to serve.
        rings: shared memory.
    """
    row = rings.board.row(PUBLISH_ROW)
    audience = Audience(row)
    return Shown(
        health=bodies["health"] or {},
        stats=bodies.get("stats"),
        thermal=bodies.get("thermal"),
        serving=all(member.ready for member in members if member.source < 0),
        last_seq=SharedSequences(row, list(zip(names, rings.frames, strict=True))).last(),
        subscribers=audience.subscribers,
        handshake_failures=audience.handshake_failures,
    )
