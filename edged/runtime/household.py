# SPDX-License-Identifier: Apache-2.0
"""All that belongs to one run of the daemon: its children, what they share, and who looks after what."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterable

from edged.messages import DaemonState, EngineHealth
from edged.runtime import briefing
from edged.runtime.accounts import repair
from edged.runtime.briefing import Prepared
from edged.runtime.channel import Note
from edged.runtime.engine_hold import EngineHold
from edged.runtime.family import Family, Wakeable
from edged.runtime.herald import Herald
from edged.runtime.launch import Launcher
from edged.runtime.live import Acts, Live
from edged.runtime.members import Member
from edged.runtime.monitoring import Monitoring
from edged.runtime.notify import Notifier
from edged.runtime.reload import SettingsReload
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup
from edged.runtime.sources import Sources
from edged.runtime.swap_crew import Place, store_mark
from edged.runtime.verify import Verification
from edged.runtime.watchdog import Watchdog
from edged.runtime.web import Web

START_S = 300.0
"""How long loading the model may take."""


class Household:
    """What the supervisor works with, and what it does with more than one part of it.

    Args:
        setup: what is known from the settings.
        launcher: starts children.
        wakes: what ends a wait besides the children.
        notifier: to the service manager.
        reload: reads the settings again; None where nobody does.
        on_note: called with a child and what it said.
        on_death: called with a child that is gone and reaped, and how it ended, in words.

    Attributes:
        state: of the daemon.
        store: how the engine store stood before an engine was chosen.
        prepared: the engine that runs or is to run; None until the model is prepared.
        rings: what the processes share; None until then.
        engine: for health; None until it is loaded.
        capturing: whether sources may be opened.
        subscriptions: to predictions, the most there were at a time.
        health_at: when to tell how things are next (monotonic seconds).
        live: serves changes; None until everything stands.
    """

    def __init__(
        self,
        setup: Setup,
        launcher: Launcher,
        wakes: Iterable[Wakeable],
        notifier: Notifier,
        reload: SettingsReload | None,
        *,
        on_note: Callable[[Member, Note], None],
        on_death: Callable[[Member, str], None],
    ) -> None:
        self.setup, self.notifier, self.reload = setup, notifier, reload
        self.store = store_mark(setup)
        self.started_s = time.monotonic()
        self.boot = str(uuid.uuid4())
        self.family = Family(launcher, wakes, on_note=on_note, on_death=on_death)
        self.prepare, self.infer = Member("prepare", "model"), Member("infer", "model")
        self.publish = Member("publish", "socket")
        self.web = Web(setup.settings.http.bind, setup.settings.daemon.name, self.boot)
        self.herald = Herald(self.publish, notifier, self.web)
        killable = setup.settings.daemon.isolation == "process"
        self.sources = Sources(setup.sources, self.herald.announce, killable=killable)
        self.captures = self.sources.members
        self.verification = Verification(setup.settings.monitor.verify_every, self.herald.announce)
        self.monitoring = Monitoring(setup.settings, self.herald.announce, use_engine=self._use_engine)
        self.watchdog = Watchdog(notifier, self.everybody, starting_s=START_S)
        self.hold = EngineHold()
        self.state: DaemonState = "starting"
        self.prepared: Prepared | None = None
        self.rings: Rings | None = None
        self.engine: EngineHealth | None = None
        self.capturing = False
        self.subscriptions = 0
        self.health_at = 0.0
        self.live: Live | None = None

    def everybody(self) -> list[Member]:
        """The children that there always are, whether they run or not."""
        return [self.publish, self.infer, *self.captures, *self.verification.members]

    # telling children what to do -------------------------------------------------------------------------------------

    def launch(self, member: Member) -> None:
        """Start a child and tell it what to do."""
        self.family.launch(member)
        self.brief_again(member)

    def brief(self, member: Member) -> None:
        """Tell a child what to do."""
        assert self.prepared is not None
        assert self.rings is not None
        without = self.live.unknown_to(member) if self.live is not None else ()
        briefing.brief(member, self.setup, self.prepared, self.rings, self.boot, without=without)
        if member.source >= 0:
            self.sources.begun(member)
        elif self.live is not None:
            self.live.briefed(member)

    def brief_again(self, member: Member) -> None:
        """Brief a child that replaces another one, unless what it is to be told is not known yet."""
        if member.source >= 0:
            self.sources.launched(member)
        if self.rings is not None and (member.source < 0 or self.capturing):
            self.brief(member)

    # engines ---------------------------------------------------------------------------------------------------------

    def alive(self, prepared: Prepared, rings: Rings) -> Live:
        """What serves changes from now on."""
        self.live = Live(
            Place(self.setup, rings, self.family, self.boot),
            self.sources,
            self.infer,
            self.publish,
            prepared,
            self.store,
            self.web,
            self.verification,
            Acts(
                self.herald.announce,
                self.launch,
                self._adopt,
                lambda: repair(rings, self.infer, self.sources.names),
                self.monitoring.take,
            ),
        )
        return self.live

    def _adopt(self, found: Prepared, io: str) -> None:
        """Another engine runs from now on, or is about to be loaded."""
        self.prepared = found
        self.hold.take(found)
        self.engine = briefing.engine_health(found, io)
        self.verification.begin(found.engine, found.reference)

    def _use_engine(self, key: str | None) -> None:
        """Have another engine of the store take over, to lower the load; None for the configured one."""
        if self.live is not None:
            self.live.use_engine(key)

    # what is told ----------------------------------------------------------------------------------------------------

    def tell_health(self) -> None:
        """Tell how things are.

        Raises:
            SharedMemoryError: a process was stopped with a lock in hand.
        """
        if self.rings is not None:
            members = [self.publish, self.infer, *self.captures]
            known = (self.engine, self.verification, self.monitoring)
            self.herald.tell(self.state, self.sources, members, self.rings, *known)
