# SPDX-License-Identifier: Apache-2.0
"""The one record of how the daemon is: what messages, HTTP, metrics, the service manager and ``edged top`` all show."""

from __future__ import annotations

from dataclasses import dataclass

from edged.messages import Health, Stats, Thermal


@dataclass(frozen=True, slots=True)
class Record:
    """Everything that is told of one second. Nobody changes it after it was made.

    Attributes:
        health: as in ``v1/health/``.
        stats: as in ``v1/stats/``; absent until there is something.
        thermal: as in ``v1/thermal/``; absent until something was read.
        handshake_failures: connections to the publisher that ended without a handshake: port scanners, wrong keys,
            wrong kinds of socket; absent where that is unknown, as it is to subscribers.
    """

    health: Health
    stats: Stats | None = None
    thermal: Thermal | None = None
    handshake_failures: int | None = None
