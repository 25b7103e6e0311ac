# SPDX-License-Identifier: Apache-2.0
"""Day two: all that changes in a daemon that runs. Sources, settings and engines; and processes that hang."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edged.runtime import briefing
from edged.runtime.briefing import Prepared
from edged.runtime.building import Building
from edged.runtime.channel import Note
from edged.runtime.hang import HangWatch
from edged.runtime.live_settings import Hands, LiveSettings, Outcome
from edged.runtime.live_sources import LiveSources
from edged.runtime.members import Member, error_from
from edged.runtime.setup import SourceSetup
from edged.runtime.sources import Sources
from edged.runtime.swap import EngineSwap
from edged.runtime.swap_crew import Place
from edged.runtime.verify import Announce, Verification
from edged.runtime.web import Web

if TYPE_CHECKING:
    from edged.settings import MonitorSettings, Settings


class Acts(NamedTuple):
    """What the supervisor does when it is asked to.

    Attributes:
        announce: logs and publishes an event.
        launch: starts a child and tells it what to do.
        adopt: takes note of the engine that runs from now on, and of its way with memory.
        repair: puts in order what an infer process left in shared memory.
        monitor: takes other settings of the monitor; tells which keys it cannot apply.
    """

    announce: Announce
    launch: Callable[[Member], None]
    adopt: Callable[[Prepared, str], None]
    repair: Callable[[], None]
    monitor: Callable[[MonitorSettings], Sequence[str]]


class Live:
    """Serves the supervisor once the daemon is ready.

    Args:
        place: the daemon's settings, shared memory, family and boot id.
        sources: their states and processes.
        infer: the process that infers.
        publish: the process that publishes.
        found: what runs.
        store: how the store stood before that was chosen.
        web: answers over HTTP.
        verification: compares with FP32.
        acts: what the supervisor does.
    """

    def __init__(
        self,
        place: Place,
        sources: Sources,
        infer: Member,
        publish: Member,
        found: Prepared,
        store: tuple[int, ...],
        web: Web,
        verification: Verification,
        acts: Acts,
    ) -> None:
        self._place, self._sources, self._acts = place, sources, acts
        self._infer, self._publish = infer, publish
        self._verification = verification
        self._live_sources = LiveSources(
            place.setup,
            place.rings,
            sources,
            infer,
            publish,
            launch=acts.launch,
            announce=acts.announce,
            on_change=self._sources_changed,
        )
        self._swap = EngineSwap(
            place, infer, publish, found, store, announce=acts.announce, adopt=acts.adopt, repair=acts.repair
        )
        self._building = Building(place.setup, place.family, acts.announce, self._swap.ask)
        self._hang = HangWatch(infer, publish)
        hands = Hands(self._change_sources, self._change_reading, web.rebind, acts.monitor)
        self._settings = LiveSettings(place.setup, hands)

    def begin(self) -> None:
        """Frames come from now on: build what is to be built meanwhile."""
        if self._swap.found.wanted:
            self._building.begin(self._swap.found.wanted)

    @property
    def members(self) -> list[Member]:
        """Children that come and go."""
        return [*self._building.members, *(each for each in self._swap.members if each.running is not None)]

    def use_engine(self, key: str | None) -> None:
        """Have another engine of the store take over; None for the one that the settings ask for."""
        self._swap.use(key)

    def make_way(self) -> bool:
        """Whether settings may change now: a swap is put off for them; False while that is too late, for a moment."""
        return self._swap.put_off()

    def apply(self, settings: Settings) -> Outcome:
        """Turn the daemon's settings into others, as far as that goes.

        Raises:
            EdgedError: they are wrong; nothing was changed.
        """
        outcome = self._settings.apply(settings)
        self._swap.ask()
        self.begin()
        return outcome

    def _change_sources(self, wanted: Sequence[SourceSetup]) -> list[str]:
        return self._live_sources.change_to(wanted)

    def _change_reading(self) -> None:
        plan = briefing.postprocess_plan(self._place.setup, self._swap.found)
        self._publish.tell("reading", plan)
        self._place.rings.wake_publish.set()
        self._restart_verify()

    def _sources_changed(self) -> None:
        self._restart_verify()

    def _restart_verify(self) -> None:
        for member in self._verification.members:
            self._place.family.end([member], 0.0)
            self._acts.launch(member)

    # the supervisor's turns ------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Go on with what is under way.

        Raises:
            SharedMemoryError: a process was stopped with a lock in hand; look again later.
        """
        self._hang.look(self._place.rings, self._swap.found.max_delay_ns, now)
        if not self._live_sources.busy:
            self._swap.look(now)
        self._building.look()
        self._live_sources.look(now)

    def due(self, now: float) -> float:
        """When to look next (monotonic seconds)."""
        return min(self._hang.due(), self._live_sources.patience(now) or now + 1.0, max(now, self._swap.deadline))

    def unknown_to(self, member: Member) -> list[int]:
        """Seats of sources that a process is not to be told of when it starts now."""
        return self._live_sources.unknown_to(member)

    def briefed(self, member: Member) -> None:
        """A new process has been told what to do."""
        self._live_sources.briefed(member)
        self._swap.briefed(member)

    def owns(self, member: Member) -> bool:
        """Whether a child is here for the sake of a change."""
        return member is self._building.member or self._swap.owns(member)

    def hear(self, member: Member, note: Note) -> None:
        """Take in what a child says, if it has to do with a change."""
        if self.owns(member) and note.kind == "error":
            member.error = error_from(note.body)
        elif note.kind in ("added", "removed"):
            if member in (self._infer, self._publish):
                self._live_sources.take(member, note)
        elif member is self._building.member and note.kind in ("build", "built"):
            self._building.take(note)
        elif self._swap.owns(member) or note.kind == "model":
            self._swap.take(member, note)
        elif member is self._infer and note.kind == "ready":
            self._swap.infer_ready()

    def holds_back(self, member: Member) -> bool:
        """Whether a capture process is not to be started again, for its source leaves or changes."""
        return self._live_sources.holds_back(member)

    def died(self, member: Member, how: str) -> bool:
        """One of ours is gone, or infer or publish; whether all that follows is seen to here."""
        if member is self._building.member:
            self._building.died(how)
            return True
        if self._swap.owns(member):
            self._swap.died(member, how)
            return True
        handled = False
        if member is self._infer:
            handled = self._swap.infer_died(how)
            if not handled:
                self._acts.repair()
        self._live_sources.died(member)
        return handled

    def close(self) -> None:
        """Let go of everything."""
        self._swap.close()
