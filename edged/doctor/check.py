# SPDX-License-Identifier: Apache-2.0
"""What a check is."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from edged.doctor.finding import ExitCode, Outcome
from edged.doctor.situation import Situation

LIMIT_S = 10.0
PROBE_LIMIT_S = 60.0
"""For checks that ask a library in a child process, which has a shorter deadline of its own."""


class Check(NamedTuple):
    """One thing to look at.

    Attributes:
        name: for ``--only`` and the report, ``[a-z0-9-]+``.
        looks_at: in a phrase.
        exit_code: how a problem of this kind ends the command.
        look: looks; may raise `edged.doctor.finding.SkippedError`.
        limit_s: deadline, seconds. A check that misses it is a problem by itself.
    """

    name: str
    looks_at: str
    exit_code: ExitCode
    look: Callable[[Situation], Outcome]
    limit_s: float = LIMIT_S
