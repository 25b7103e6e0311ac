# SPDX-License-Identifier: Apache-2.0
"""The supervisor: starts the family of processes, watches them, replaces what dies, and ends them all.

How it starts is in `edged.runtime.start`, how it ends in `edged.runtime.shut_down`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from edged.errors import InternalError, SharedMemoryError
from edged.runtime import briefing, status
from edged.runtime.accounts import repair
from edged.runtime.channel import Note
from edged.runtime.household import Household
from edged.runtime.launch import Launcher
from edged.runtime.members import Member, SourceStatus, error_from, given_up
from edged.runtime.notify import Notifier
from edged.runtime.reload import SettingsReload
from edged.runtime.setup import Setup
from edged.runtime.shut_down import DRAIN_STEP_S, shut_down
from edged.runtime.signals import StopSignal
from edged.runtime.start import start

_LOG = logging.getLogger("edged")
_HEALTH_EVERY_S = 1.0
_TOO_MANY_DEATHS = 5


class StopRequestedError(Exception):
    """A stop was asked for while something was being waited for."""


class Supervisor:
    """One run of the daemon.

    Args:
        setup: what is known from the settings.
        launcher: starts children.
        stop: the request to stop.
        exit_when_done: end once every source has ended and everything is published.
        notifier: to the service manager; default: there is none.
        reload: reads the settings again; default: nobody does.
    """

    def __init__(
        self,
        setup: Setup,
        launcher: Launcher,
        stop: StopSignal,
        *,
        exit_when_done: bool,
        notifier: Notifier | None = None,
        reload: SettingsReload | None = None,
    ) -> None:
        self._stop = stop
        self._exit_when_done = exit_when_done
        self._reload_wanted = False
        wakes = (stop, stop.hangup)
        self._house = Household(
            setup, launcher, wakes, notifier or Notifier(), reload, on_note=self._on_note, on_death=self._on_death
        )

    @property
    def statuses(self) -> list[SourceStatus]:
        """How the sources stand."""
        return self._house.sources.statuses

    # the whole run ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until stopped, or until done.

        Raises:
            EdgedError: the daemon cannot start, or cannot go on.
        """
        linger_ms = 200
        self._house.web.start()
        try:
            start(self._house, self._wait)
            self._wait(lambda: self._exit_when_done and self._all_done(), None)
            linger_ms = 1000
            self._house.sources.part(now_or_never=True)
            _LOG.info("%s", self._house.sources.conclusion)
        except StopRequestedError:
            _LOG.info("stopping")
        finally:
            self._house.sources.part(now_or_never=True)
            shut_down(self._house, linger_ms)

    def _all_done(self) -> bool:
        house = self._house
        return house.sources.all_over and house.sources.settled

    def _wait(self, done: Callable[[], bool], timeout_s: float | None, failure: str = "") -> None:
        """Serve everything until a condition holds.

        Raises:
            StopRequestedError: a stop was asked for first.
            InternalError: the time ran out first.
        """
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not done():
            if self._stop.requested:
                raise StopRequestedError
            if end is not None and time.monotonic() >= end:
                raise InternalError(f"{failure} within {timeout_s:g} s", remedy="see the log above")
            self._turn()

    # one turn of the loop --------------------------------------------------------------------------------------------

    def _turn(self) -> None:
        house = self._house
        now = time.monotonic()
        house.web.beat()
        house.family.restart_due(house.everybody(), now, brief=house.brief_again)
        self._reload_wanted = self._stop.hangup.take() or self._reload_wanted
        if self._reload_wanted and house.reload is not None and house.live is not None and house.live.make_way():
            self._reload_wanted = False
            house.reload.serve(house.live.apply, house.notifier, house.herald.announce)
        if house.rings is not None and house.prepared is not None:
            house.monitoring.look(house.rings, house.setup.sources, house.prepared, house.captures, now)
        if house.rings is not None and now >= house.health_at:
            house.health_at = now + _HEALTH_EVERY_S
            self._tell_and_check()
            house.watchdog.look(house.rings, (house.infer, house.publish))
        house.sources.look()
        self._look_alive(now)
        house.family.listen(self._patience(now))

    def _look_alive(self, now: float) -> None:
        house = self._house
        try:
            if house.live is not None:
                house.live.look(now)
        except SharedMemoryError as error:
            _LOG.warning("a change has to wait: %s", error)

    def _tell_and_check(self) -> None:
        house = self._house
        try:
            house.tell_health()
            house.sources.check()
            house.verification.watch(house.rings.samples if house.rings else ())
        except SharedMemoryError as error:
            # Somebody was stopped with a lock in hand. Health has nothing exact to say until that is over.
            _LOG.warning("no health this second: %s", error)

    def _patience(self, now: float) -> float:
        house = self._house
        due = [at for at in (house.sources.due(now), *(each.start_at for each in house.everybody())) if at is not None]
        if self._exit_when_done and house.rings is not None and house.sources.all_over:
            # Only the last results are still on their way: look often enough to end without delay.
            due.append(now + DRAIN_STEP_S)
        if house.live is not None:
            due.append(house.live.due(now))
        due += [house.monitoring.due_s, now + _HEALTH_EVERY_S, house.health_at or now + 1.0]
        return max(0.0, min(due) - now)

    def _on_note(self, member: Member, note: Note) -> None:
        house = self._house
        if house.live is not None:
            house.live.hear(member, note)
            if house.live.owns(member):
                return
        self._take(member, note)

    def _take(self, member: Member, note: Note) -> None:
        house = self._house
        if member.source >= 0 and note.kind in ("opened", "resized", "remark", "ended", "failed"):
            house.sources.hear(member, note)
        elif note.kind == "error":
            member.error = error_from(note.body)
        elif note.kind == "traceback":
            _LOG.debug("%s: %s", member.label, note.body)
        elif note.kind == "prepared":
            house.prepared = briefing.prepared(house.setup, note.body)
        elif note.kind in ("bound", "ready"):
            member.ready = True
            if member is house.infer and house.prepared is not None:
                house.engine = briefing.engine_health(house.prepared, note.body["io"])
                house.monitoring.gpu_at(note.body.get("bus_id", ""))
                status.log_remarks(note.body["remarks"])
        elif note.kind == "subscriptions":
            house.subscriptions = max(house.subscriptions, note.body)
        elif note.kind == "remarks":
            status.log_remarks(note.body)
        elif note.kind == "checked":
            house.verification.checked(note)

    # life and death of children --------------------------------------------------------------------------------------

    def _on_death(self, member: Member, how: str) -> None:
        house = self._house
        how, member.fate = member.fate or how, ""
        if member is house.prepare:
            if house.prepared is None:
                raise member.error or InternalError(f"the process that prepares the model {how}")
            return
        if member is house.verification.member:
            house.verification.died(how)
            return
        if house.live is not None and member.source < 0:
            if house.live.died(member, how):
                return
        elif house.rings is not None:
            repair(house.rings, member, house.sources.names)
        if member.source >= 0:
            if house.live is None or not house.live.holds_back(member):
                house.sources.died(member, how)
            return
        self._replace(member, how)

    def _replace(self, member: Member, how: str) -> None:
        house = self._house
        if house.state == "starting" and member.error is not None:
            raise member.error
        now = time.monotonic()
        delay = member.backoff.died(now)
        if member.backoff.recent(now) >= _TOO_MANY_DEATHS:
            raise given_up(member, how, _TOO_MANY_DEATHS)
        text = str(member.error) if member.error else how
        house.herald.announce(
            "process-replaced", "", "error", f"the {member.role} process {text}; replaced in {delay:g} s"
        )
        member.start_at = now + delay
