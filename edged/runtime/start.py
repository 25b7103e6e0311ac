# SPDX-License-Identifier: Apache-2.0
"""The daemon's start: settings → model → bind → ready → wait for subscribers → sources."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Protocol

from edged.runtime import briefing
from edged.runtime.briefing import Prepared
from edged.runtime.household import START_S, Household
from edged.runtime.monitoring_engines import smaller_engines
from edged.runtime.rings import Rings

_LOG = logging.getLogger("edged")
PREPARE_S = 900.0
"""How long preparing the model may take."""


class Wait(Protocol):
    """Serves everything until a condition holds, see `edged.runtime.supervisor.Supervisor`."""

    def __call__(self, done: Callable[[], bool], timeout_s: float | None, failure: str = "") -> None:
        """Wait; where a time is given and runs out, the failure is raised."""
        ...


def start(house: Household, wait: Wait) -> None:
    """Start everything.

    Args:
        house: of the daemon.
        wait: serves it meanwhile.

    Raises:
        EdgedError: it cannot start.
    """
    _launch(house)
    wait(lambda: house.prepared is not None, PREPARE_S, "the model was not prepared")
    assert house.prepared is not None
    rings = _share(house, house.prepared)
    wait(lambda: house.infer.ready and house.publish.ready, START_S, "the model was not loaded")
    _be_ready(house, house.prepared)
    wanted = house.setup.settings.publish.wait_for_subscribers
    if wanted:
        _LOG.info("waiting for %d subscription(s) to predictions", wanted)
    wait(lambda: house.subscriptions >= wanted, None)
    _go_live(house, house.prepared, rings)


def _launch(house: Household) -> None:
    """Start the children, all at once: most of the time goes into their imports."""
    for member in (house.prepare, house.infer, house.publish):
        house.family.launch(member)
    house.prepare.tell("configure", briefing.prepare_plan(house.setup), wait_s=1.0)
    for capture, source in zip(house.captures, house.setup.sources, strict=True):
        if source.error is None:
            house.family.launch(capture)
        else:
            house.sources.refuse(capture.source, source.error)


def _share(house: Household, prepared: Prepared) -> Rings:
    """The model is prepared: make what the processes share, and have it loaded."""
    house.hold.take(prepared)
    house.rings = briefing.make_rings(house.setup, prepared)
    house.sources.use(house.rings)
    for member in (house.infer, house.publish):
        house.brief(member)
    return house.rings


def _be_ready(house: Household, prepared: Prepared) -> None:
    """The model is loaded and the endpoints are bound."""
    house.state = "ready"
    house.health_at = 0.0  # told at once, not up to a second later
    took = time.monotonic() - house.started_s
    if prepared.engine.note:
        _LOG.warning("%s", prepared.engine.note)
    _LOG.info("ready after %.2f s: %s on %s, batches of up to %d", took, *briefing.summary(prepared))
    house.notifier.ready("ready")
    house.watchdog.begin()
    engines = smaller_engines(house.setup.settings.daemon.state_dir, prepared)
    house.monitoring.begin(house.setup.sources, prepared, engines)


def _go_live(house: Household, prepared: Prepared, rings: Rings) -> None:
    """Everything stands: let frames come."""
    house.capturing = True
    for capture in house.captures:
        if capture.running:
            house.brief(capture)
    house.verification.begin(prepared.engine, prepared.reference)
    for member in house.verification.members:
        house.launch(member)
    house.alive(prepared, rings).begin()
    if house.reload is not None:
        house.reload.begin()
