# SPDX-License-Identifier: Apache-2.0
"""``edged top``: how a running daemon is doing, live or as one page. A subscriber like any other."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from rich.console import Console
from rich.live import Live

from edged.errors import DeviceUnavailableError
from edged.messages import HEALTH, STATS, THERMAL, Health, Stats, Thermal
from edged.monitor.record import Record
from edged.stages.publish.client import Received, Subscriber
from edged.stages.publish.silence import likely_causes
from edged.top_figures import Figures
from edged.top_view import page

if TYPE_CHECKING:
    from edged.stages.publish.security import ClientCurve

PATIENCE_S = 5.0
"""A daemon that is there says something every second."""
_REST_S = 1.5
_WAIT_S = 0.5  # so that Ctrl-C and silence are noticed
_WIDTH = 120


class Watch:
    """What was received last, and how long ago.

    Args:
        clock: monotonic seconds.

    Attributes:
        record: the newest of each message; None until there was a health message.
        figures: rates, from the last two statistics.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.record: Record | None = None
        self.figures = Figures()
        self._clock = clock
        self._heard_s = clock()
        self._early: list[Stats | Thermal] = []

    @property
    def silent_s(self) -> float:
        """Seconds since the last message."""
        return self._clock() - self._heard_s

    @property
    def complete(self) -> bool:
        """Whether there is one of each message."""
        return self.record is not None and None not in (self.record.stats, self.record.thermal)

    def take(self, received: Received) -> None:
        """Take in a message; those of a daemon's earlier life are forgotten with it."""
        self._heard_s = self._clock()
        message = received.message
        if isinstance(message, Health):
            if self.record is None or self.record.health.boot != message.boot:
                self.record = Record(message)
                early, self._early = self._early, []
                for each in early:
                    self._add(each)
            self.record = replace(self.record, health=message)
        elif isinstance(message, Stats | Thermal):
            self._add(message)

    def _add(self, message: Stats | Thermal) -> None:
        if self.record is None:
            self._early = [*self._early[-3:], message]
        elif message.boot == self.record.health.boot:
            if isinstance(message, Stats):
                self.figures.take(message)
                self.record = replace(self.record, stats=message)
            else:
                self.record = replace(self.record, thermal=message)


def run_top(
    connect: str, *, once: bool, out: TextIO, curve: ClientCurve | None = None, patience_s: float = PATIENCE_S
) -> int:
    """Show how the daemon is doing until interrupted.

    Args:
        connect: endpoint.
        once: print one page and end; also where ``out`` is not a terminal.
        out: where to.
        curve: keys for a tcp endpoint with CURVE.
        patience_s: how long to wait for a first word, seconds.

    Returns:
        The exit code, 0.

    Raises:
        DeviceUnavailableError: no daemon answers there.
        SettingsError: an endpoint that cannot be connected to.
    """
    watch = Watch()
    try:
        with Subscriber(connect, [HEALTH, STATS, THERMAL], curve=curve) as subscriber:
            _wait(subscriber, watch, lambda: watch.record is not None, patience_s)
            if watch.record is None:
                raise _silence(connect, patience_s, subscriber.malformed, keys=curve is not None)
            console = Console(file=out, width=None if out.isatty() or "COLUMNS" in os.environ else _WIDTH)
            if once or not console.is_terminal:
                _wait(subscriber, watch, lambda: watch.complete, _REST_S)
                console.print(page(watch.record, watch.figures, width=console.width))
            else:
                _live(subscriber, watch, console)
    except KeyboardInterrupt:
        pass
    return 0


def _wait(subscriber: Subscriber, watch: Watch, enough: Callable[[], bool], patience_s: float) -> None:
    end = time.monotonic() + patience_s
    while not enough() and (left := end - time.monotonic()) > 0:
        received = subscriber.receive(left)
        if received is not None:
            watch.take(received)


def _live(subscriber: Subscriber, watch: Watch, console: Console) -> None:
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while watch.record is not None:
            silent_s = watch.silent_s if watch.silent_s >= PATIENCE_S else 0.0
            shown = page(watch.record, watch.figures, width=console.width, height=console.height, silent_s=silent_s)
            live.update(shown, refresh=True)
            # What comes together is shown together: health, statistics and heat follow each other at once.
            for received in [subscriber.receive(_WAIT_S), subscriber.receive(0.02), subscriber.receive(0.02)]:
                if received is not None:
                    watch.take(received)


def _silence(connect: str, patience_s: float, malformed: int, *, keys: bool) -> DeviceUnavailableError:
    odd = f" ({malformed} messages were not understood)" if malformed else ""
    return DeviceUnavailableError(
        f"no daemon said anything within {patience_s:g} s{odd}",
        where=connect,
        remedy=likely_causes(connect, keys=keys),
    )
