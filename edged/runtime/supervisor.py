# SPDX-License-Identifier: Apache-2.0
"""The supervisor: starts the family of processes, watches them, replaces what dies, and ends them all.

Order at the start: settings → model → bind → ready → wait for subscribers → sources. The order at the end is that of
the frames: capture, infer, publish.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable

from edged.errors import InternalError, SharedMemoryError
from edged.messages import DaemonState, EngineHealth
from edged.runtime import briefing, status
from edged.runtime.accounts import close_accounts, repair, wait_for_results
from edged.runtime.briefing import Prepared
from edged.runtime.channel import Note
from edged.runtime.engine_hold import EngineHold
from edged.runtime.family import Family
from edged.runtime.herald import Herald
from edged.runtime.launch import Launcher
from edged.runtime.live import Acts, Live
from edged.runtime.members import Member, error_from, given_up
from edged.runtime.monitoring import Monitoring
from edged.runtime.monitoring_engines import smaller_engines
from edged.runtime.notify import Notifier
from edged.runtime.reload import SettingsReload
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup
from edged.runtime.signals import StopSignal
from edged.runtime.sources import Sources
from edged.runtime.swap_crew import Place, store_mark
from edged.runtime.verify import Verification
from edged.runtime.watchdog import Watchdog
from edged.runtime.web import Web

_LOG = logging.getLogger("edged")
_PREPARE_S = 900.0
_START_S = 300.0
_HEALTH_EVERY_S = 1.0
_TOO_MANY_DEATHS = 5
_DRAIN_STEP_S = 0.02


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
        self._setup = setup
        self._stop = stop
        self._exit_when_done = exit_when_done
        self._notifier = notifier or Notifier()
        self._reload = reload
        self._reload_wanted = False
        self._live: Live | None = None
        self._store = store_mark(setup)
        self._started_s = time.monotonic()
        self._boot = str(uuid.uuid4())
        self._family = Family(launcher, (stop, stop.hangup), on_note=self._on_note, on_death=self._on_death)
        self._publish = Member("publish", "socket")
        self._web = Web(setup.settings.http.bind, setup.settings.daemon.name, self._boot)
        self._herald = Herald(self._publish, self._notifier, self._web)
        killable = setup.settings.daemon.isolation == "process"
        self._sources = Sources(setup.sources, self._herald.announce, killable=killable)
        self._names, self.statuses = self._sources.names, self._sources.statuses
        self._prepare = Member("prepare", "model")
        self._infer = Member("infer", "model")
        self._captures = self._sources.members
        self._verification = Verification(setup.settings.monitor.verify_every, self._herald.announce)
        self._monitoring = Monitoring(setup.settings, self._herald.announce)
        self._watchdog = Watchdog(self._notifier, self._everybody, starting_s=_START_S)
        self._state: DaemonState = "starting"
        self._prepared: Prepared | None = None
        self._rings: Rings | None = None
        self._hold = EngineHold()
        self._engine: EngineHealth | None = None
        self._subscriptions = 0
        self._capturing = False
        self._next_health_s = 0.0

    # the whole run ---------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Run until stopped, or until done.

        Raises:
            EdgedError: the daemon cannot start, or cannot go on.
        """
        linger_ms = 200
        self._web.start()
        try:
            self._start()
            self._wait(lambda: self._exit_when_done and self._all_done(), None)
            linger_ms = 1000
            _LOG.info("all sources have ended and everything is published")
        except StopRequestedError:
            _LOG.info("stopping")
        finally:
            self._shut_down(linger_ms)

    def _start(self) -> None:
        for member in (self._prepare, self._infer, self._publish):
            self._family.launch(member)
        self._prepare.tell("configure", briefing.prepare_plan(self._setup), wait_s=1.0)
        for capture, source in zip(self._captures, self._setup.sources, strict=True):
            if source.error is None:
                self._family.launch(capture)
            else:
                self._sources.refuse(capture.source, source.error)
        self._wait(lambda: self._prepared is not None, _PREPARE_S, "the model was not prepared")
        assert self._prepared is not None
        self._hold.take(self._prepared)
        self._rings = briefing.make_rings(self._setup, self._prepared)
        self._sources.use(self._rings)
        for member in (self._infer, self._publish):
            self._brief(member)
        self._wait(lambda: self._infer.ready and self._publish.ready, _START_S, "the model was not loaded")
        self._state = "ready"
        self._next_health_s = 0.0  # told at once, not up to a second later
        took = time.monotonic() - self._started_s
        if self._prepared.engine.note:
            _LOG.warning("%s", self._prepared.engine.note)
        _LOG.info("ready after %.2f s: %s on %s, batches of up to %d", took, *briefing.summary(self._prepared))
        self._notifier.ready("ready")
        self._watchdog.begin()
        self._begin_monitoring(self._prepared)
        wanted = self._setup.settings.publish.wait_for_subscribers
        if wanted:
            _LOG.info("waiting for %d subscription(s) to predictions", wanted)
        self._wait(lambda: self._subscriptions >= wanted, None)
        self._capturing = True
        self._go_live(self._prepared, self._rings)

    def _go_live(self, prepared: Prepared, rings: Rings) -> None:
        """Everything stands: let frames come."""
        for capture in self._captures:
            if capture.running:
                self._brief(capture)
        self._verification.begin(prepared.engine, prepared.reference)
        for member in self._verification.members:
            self._launch(member)
        self._live = self._alive(prepared, rings)
        self._live.begin()
        if self._reload is not None:
            self._reload.begin()

    def _begin_monitoring(self, prepared: Prepared) -> None:
        self._monitoring.use_engine = self._use_engine
        engines = smaller_engines(self._setup.settings.daemon.state_dir, prepared)
        self._monitoring.begin(self._setup.sources, prepared, engines)

    def _use_engine(self, key: str | None) -> None:
        """Have another engine of the store take over, to lower the load; None for the configured one."""
        if self._live is not None:
            self._live.use_engine(key)

    def _alive(self, prepared: Prepared, rings: Rings) -> Live:
        """What serves changes from now on."""
        place = Place(self._setup, rings, self._family, self._boot)
        infer, announce = self._infer, self._herald.announce
        acts = Acts(
            announce,
            self._launch,
            self._adopt,
            lambda: repair(rings, infer, self._names),
            self._monitoring.take,
        )
        known = (prepared, self._store, self._web, self._verification, acts)
        return Live(place, self._sources, infer, self._publish, *known)

    def _launch(self, member: Member) -> None:
        """Start a child and tell it what to do."""
        self._family.launch(member)
        self._brief_again(member)

    def _adopt(self, found: Prepared, io: str) -> None:
        """Another engine runs from now on, or is about to be loaded."""
        self._prepared = found
        self._hold.take(found)
        self._engine = briefing.engine_health(found, io)
        self._verification.begin(found.engine, found.reference)

    def _all_done(self) -> bool:
        return self._sources.all_over and self._sources.settled

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
        now = time.monotonic()
        self._web.beat()
        self._family.restart_due(self._everybody(), now, brief=self._brief_again)
        self._reload_wanted = self._stop.hangup.take() or self._reload_wanted
        if self._reload_wanted and self._reload is not None and self._live is not None and self._live.make_way():
            self._reload_wanted = False
            self._reload.serve(self._live.apply, self._notifier, self._herald.announce)
        if self._rings is not None and self._prepared is not None:
            self._monitoring.look(self._rings, self._setup.sources, self._prepared, self._captures, now)
        if self._rings is not None and now >= self._next_health_s:
            self._next_health_s = now + _HEALTH_EVERY_S
            self._tell_and_check()
            self._watchdog.look(self._rings, (self._infer, self._publish))
        self._sources.look()
        self._look_alive(now)
        self._family.listen(self._patience(now))

    def _look_alive(self, now: float) -> None:
        try:
            if self._live is not None:
                self._live.look(now)
        except SharedMemoryError as error:
            _LOG.warning("a change has to wait: %s", error)

    def _tell_and_check(self) -> None:
        try:
            self._tell_health()
            self._sources.check()
            self._verification.watch(self._rings.samples if self._rings else ())
        except SharedMemoryError as error:
            # Somebody was stopped with a lock in hand. Health has nothing exact to say until that is over.
            _LOG.warning("no health this second: %s", error)

    def _patience(self, now: float) -> float:
        due = [at for at in (self._sources.due(now), *(each.start_at for each in self._everybody())) if at is not None]
        if self._exit_when_done and self._rings is not None and self._sources.all_over:
            # Only the last results are still on their way: look often enough to end without delay.
            due.append(now + _DRAIN_STEP_S)
        if self._live is not None:
            due.append(self._live.due(now))
        due += [self._monitoring.due_s, now + _HEALTH_EVERY_S, self._next_health_s or now + 1.0]
        return max(0.0, min(due) - now)

    def _everybody(self) -> list[Member]:
        return [self._publish, self._infer, *self._captures, *self._verification.members]

    def _on_note(self, member: Member, note: Note) -> None:
        if self._live is not None:
            self._live.hear(member, note)
            if self._live.owns(member):
                return
        self._take(member, note)

    def _take(self, member: Member, note: Note) -> None:
        if member.source >= 0 and note.kind in ("opened", "ended", "failed"):
            self._sources.hear(member, note)
        elif note.kind == "error":
            member.error = error_from(note.body)
        elif note.kind == "traceback":
            _LOG.debug("%s: %s", member.label, note.body)
        elif note.kind == "prepared":
            self._prepared = briefing.prepared(self._setup, note.body)
        elif note.kind in ("bound", "ready"):
            member.ready = True
            if member is self._infer and self._prepared is not None:
                self._engine = briefing.engine_health(self._prepared, note.body["io"])
                self._monitoring.gpu_at(note.body.get("bus_id", ""))
                status.log_remarks(note.body["remarks"])
        elif note.kind == "subscriptions":
            self._subscriptions = max(self._subscriptions, note.body)
        elif note.kind == "remarks":
            status.log_remarks(note.body)
        elif note.kind == "checked":
            self._verification.checked(note)

    # life and death of children --------------------------------------------------------------------------------------

    def _brief(self, member: Member) -> None:
        assert self._prepared is not None
        assert self._rings is not None
        without = self._live.unknown_to(member) if self._live is not None else ()
        briefing.brief(member, self._setup, self._prepared, self._rings, self._boot, without=without)
        if member.source >= 0:
            self._sources.begun(member)
        elif self._live is not None:
            self._live.briefed(member)

    def _brief_again(self, member: Member) -> None:
        """Brief a child that replaces another one, unless what it is to be told is not known yet."""
        if member.source >= 0:
            self._sources.launched(member)
        if self._rings is not None and (member.source < 0 or self._capturing):
            self._brief(member)

    def _on_death(self, member: Member, how: str) -> None:
        how, member.fate = member.fate or how, ""
        if member is self._prepare:
            if self._prepared is None:
                raise member.error or InternalError(f"the process that prepares the model {how}")
            return
        if member is self._verification.member:
            self._verification.died(how)
            return
        if self._live is not None and member.source < 0:
            if self._live.died(member, how):
                return
        elif self._rings is not None:
            repair(self._rings, member, self._names)
        if member.source >= 0:
            if self._live is None or not self._live.holds_back(member):
                self._sources.died(member, how)
            return
        self._replace(member, how)

    def _replace(self, member: Member, how: str) -> None:
        if self._state == "starting" and member.error is not None:
            raise member.error
        now = time.monotonic()
        delay = member.backoff.died(now)
        if member.backoff.recent(now) >= _TOO_MANY_DEATHS:
            raise given_up(member, how, _TOO_MANY_DEATHS)
        text = str(member.error) if member.error else how
        self._herald.announce(
            "process-replaced", "", "error", f"the {member.role} process {text}; replaced in {delay:g} s"
        )
        member.start_at = now + delay

    # what is told ----------------------------------------------------------------------------------------------------

    def _tell_health(self) -> None:
        if self._rings is not None:
            members = [self._publish, self._infer, *self._captures]
            known = (self._engine, self._verification, self._monitoring)
            self._herald.tell(self._state, self._sources, members, self._rings, *known)

    # the end ---------------------------------------------------------------------------------------------------------

    def _shut_down(self, linger_ms: int) -> None:
        self._notifier.stopping()
        self._web.stopping()
        self._watchdog.close()
        self._state = "stopping"
        if self._reload is not None:
            self._reload.close()
        self._end([self._prepare, *self._verification.members, *(self._live.members if self._live else ())], 0.0)
        self._end(self._captures, 0.4)
        self._end([self._infer], 1.1)
        if self._rings is not None:
            try:
                if self._publish.running:
                    wait_for_results(self._rings, lambda: self._family.wait(_DRAIN_STEP_S), 0.3)
                close_accounts(self._rings, self._names)
            except SharedMemoryError:
                _LOG.warning("publish does not answer and is killed")
                self._end([self._publish], 0.0)
                close_accounts(self._rings, self._names)
            self._tell_health()
            self._publish.tell("linger", linger_ms)
        self._end([self._publish], linger_ms / 1000 + 0.4)
        self._family.close()
        self._web.stop()
        self._monitoring.close()
        self._hold.close()
        if self._live is not None:
            self._live.close()
        if self._rings is not None:
            self._rings.close()

    def _end(self, members: list[Member], patience_s: float) -> None:
        self._family.end(members, patience_s, wake=self._rings.wake_all if self._rings is not None else None)
