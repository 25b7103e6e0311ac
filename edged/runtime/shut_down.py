# SPDX-License-Identifier: Apache-2.0
"""The daemon's end, in the order of the frames: capture, infer, publish."""

from __future__ import annotations

import logging

from edged.errors import SharedMemoryError
from edged.runtime.accounts import close_accounts, wait_for_results
from edged.runtime.household import Household
from edged.runtime.members import Member
from edged.runtime.rings import Rings

_LOG = logging.getLogger("edged")
DRAIN_STEP_S = 0.02
"""How often to look for the last results."""


def shut_down(house: Household, linger_ms: int) -> None:
    """End everything, wherever the daemon is.

    Args:
        house: of the daemon.
        linger_ms: how long publish may take to hand over its last messages.
    """
    house.notifier.stopping()
    house.web.stopping()
    house.watchdog.close()
    house.state = "stopping"
    if house.reload is not None:
        house.reload.close()
    live = house.live.members if house.live is not None else ()
    _end(house, [house.prepare, *house.verification.members, *live], 0.0)
    _end(house, house.captures, 0.4)
    _end(house, [house.infer], 1.1)
    if house.rings is not None:
        _settle(house, house.rings)
        house.tell_health()
        house.publish.tell("linger", linger_ms)
    _end(house, [house.publish], linger_ms / 1000 + 0.4)
    _let_go(house)


def _settle(house: Household, rings: Rings) -> None:
    """Have the last results published, and count what is not."""
    names = house.sources.names
    try:
        if house.publish.running:
            wait_for_results(rings, lambda: house.family.wait(DRAIN_STEP_S), 0.3)
        close_accounts(rings, names)
    except SharedMemoryError:
        _LOG.warning("publish does not answer and is killed")
        _end(house, [house.publish], 0.0)
        close_accounts(rings, names)


def _let_go(house: Household) -> None:
    house.family.close()
    house.web.stop()
    house.monitoring.close()
    house.hold.close()
    if house.live is not None:
        house.live.close()
    if house.rings is not None:
        house.rings.close()


def _end(house: Household, members: list[Member], patience_s: float) -> None:
    house.family.end(members, patience_s, wake=house.rings.wake_all if house.rings is not None else None)
