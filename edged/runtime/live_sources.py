# SPDX-License-Identifier: Apache-2.0
"""Sources that come, go and change while the daemon runs.

A source comes: it gets a ring and a seat; publish is told of it, then infer, then its capture process begins. It goes
the way of its frames: its capture process ends, what it has captured is inferred and published, infer lets go of its
ring, then publish, then the supervisor. What is still in its ring when its time is up counts as lost to the shutdown.
Nothing else notices. Whoever comes back under its old name goes on counting where it was.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from edged.runtime import briefing
from edged.runtime.channel import Note
from edged.runtime.members import Member
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup, SourceSetup
from edged.runtime.sources import Sources
from edged.runtime.verify import Announce, Data

_LOG = logging.getLogger("edged")
_END_S = 0.5
_DRAIN_S = 1.0
_LET_GO_S = 5.0
_LOOK_S = 0.02
_REMEMBERED = 1024
"""Names of sources that are gone and go on counting if they come back."""

Stage = Literal["capture", "draining", "infer", "publish"]


@dataclass(slots=True)
class _Leaving:
    """A source on its way out, and what comes in its place."""

    seat: int
    stage: Stage
    deadline_s: float
    successor: SourceSetup | None = None


class LiveSources:
    """Changes the sources of a daemon that runs.

    Args:
        setup: of the daemon; its list of sources is kept up to date.
        rings: of the daemon.
        sources: what is known of them, with their processes.
        infer: the process that infers.
        publish: the process that publishes.
        launch: starts a child and tells it what to do.
        announce: logs and publishes an event.
        on_change: told when the list of sources has changed.
    """

    def __init__(
        self,
        setup: Setup,
        rings: Rings,
        sources: Sources,
        infer: Member,
        publish: Member,
        *,
        launch: Callable[[Member], None],
        announce: Announce,
        on_change: Callable[[], None],
    ) -> None:
        self._setup = setup
        self._rings = rings
        self._sources = sources
        self._infer = infer
        self._publish = publish
        self._launch = launch
        self._announce = announce
        self._on_change = on_change
        self._leaving: list[_Leaving] = []
        self._restarting: dict[int, float] = {}
        self._joining: set[int] = set()
        self._histories: dict[str, tuple[int, ...]] = {}

    @property
    def busy(self) -> bool:
        """Whether a change is under way."""
        return bool(self._leaving or self._joining or self._restarting)

    def unknown_to(self, member: Member) -> list[int]:
        """Seats that a process is not to be told of when it starts now."""
        if member is not self._infer:
            return []
        return [each.seat for each in self._leaving if each.stage in ("infer", "publish")]

    def holds_back(self, member: Member) -> bool:
        """Whether a capture process is not to be started again, for its source leaves or changes."""
        seat = self._rings.seats[member.source]
        return seat in self._restarting or any(each.seat == seat for each in self._leaving)

    # changes ---------------------------------------------------------------------------------------------------------

    def change_to(self, wanted: Sequence[SourceSetup]) -> list[str]:
        """Begin to turn the daemon's sources into others; returns what that comes to, a clause each.

        Args:
            wanted: all sources that there shall be.
        """
        said = []
        by_name = {source.settings.name: source for source in wanted}
        leaving = {each.seat for each in self._leaving}
        for index, old in reversed(list(enumerate(self._setup.sources))):
            new = by_name.pop(old.settings.name, None)
            name = old.settings.name
            if self._rings.seats[index] in leaving:
                self._succeed(self._rings.seats[index], new)
            elif new is None:
                said.append(f"source {name} is removed")
                self._remove(index, None)
            elif new.live != old.live:
                said.append(f"source {name} is {'live' if new.live else 'lossless'} now")
                self._remove(index, new)
            elif new.settings != old.settings:
                said.append(f"source {name} has changed")
                self._change(index, old, new)
        for source in wanted:
            if source.settings.name in by_name:
                said.append(f"source {source.settings.name} is added")
                self._add(source)
        return said

    def _succeed(self, seat: int, new: SourceSetup | None) -> None:
        """A source that is leaving already: what comes after it has changed."""
        for each in self._leaving:
            if each.seat == seat:
                each.successor = new

    def _add(self, source: SourceSetup) -> None:
        name = source.settings.name
        index = self._rings.add(source.live, self._histories.pop(name, ()))
        self._setup.sources.append(source)
        member = self._sources.add(source)
        self._joining.add(self._rings.seats[index])
        if self._publish.running is None:
            self._introduce(index)
        else:
            briefing.tell_source(self._publish, self._setup, self._rings, index)
            self._rings.wake_publish.set()
        self._begin(member, source)
        self._on_change()

    def _begin(self, member: Member, source: SourceSetup) -> None:
        if source.error is None:
            self._launch(member)
        else:
            self._sources.refuse(member.source, source.error)

    def _introduce(self, index: int) -> None:
        """Publish knows of a source, so infer may."""
        self._joining.discard(self._rings.seats[index])
        briefing.tell_source(self._infer, self._setup, self._rings, index)
        self._rings.wake_infer.set()

    def _change(self, index: int, old: SourceSetup, new: SourceSetup) -> None:
        self._setup.sources[index] = new
        policy = {"max_age_ms", "priority"}
        if old.settings.model_dump(exclude=policy) != new.settings.model_dump(exclude=policy):
            member, seat = self._sources.members[index], self._rings.seats[index]
            fresh = (old.settings.uri, old.settings.loop) != (new.settings.uri, new.settings.loop)
            self._restarting[seat] = time.monotonic() + _END_S
            if fresh:
                # Counted up to here; what comes is the beginning of something else.
                self._rings.origins[index] = -1
            self._ask_to_end(member, index)
        plan = briefing.source_plan(new, self._rings.seats[index])
        for member in (self._publish, self._infer):
            member.tell("policy", plan)
        self._rings.wake_infer.set()
        self._rings.wake_publish.set()

    def _remove(self, index: int, successor: SourceSetup | None) -> None:
        seat = self._rings.seats[index]
        self._restarting.pop(seat, None)
        self._leaving.append(_Leaving(seat, "capture", time.monotonic() + _END_S, successor))
        self._ask_to_end(self._sources.members[index], index)

    def _ask_to_end(self, member: Member, index: int) -> None:
        member.start_at = None
        member.tell("stop")
        self._rings.spaces[index].set()

    # one look after the other ----------------------------------------------------------------------------------------

    def patience(self, now: float) -> float | None:
        """When to look again (monotonic seconds); None where there is nothing to look for."""
        return now + _LOOK_S if self.busy else None

    def look(self, now: float) -> None:
        """Go on with what is under way.

        Raises:
            SharedMemoryError: a process was stopped with a lock in hand; look again later.
        """
        for seat, deadline_s in list(self._restarting.items()):
            self._restart(seat, deadline_s, now)
        for each in list(self._leaving):
            index = self._rings.index_of(each.seat)
            if each.stage == "capture" and self._ended(self._sources.members[index], each.deadline_s, now):
                self._rings.frames[index].set_ended(True)
                self._rings.wake_infer.set()
                each.stage, each.deadline_s = "draining", now + _DRAIN_S
            elif each.stage == "draining":
                if not self._rings.frames[index].counts().in_flight or now >= each.deadline_s:
                    self._go_on(each, "infer", self._infer)
            elif each.stage in ("infer", "publish") and now >= each.deadline_s:
                member = self._infer if each.stage == "infer" else self._publish
                each.deadline_s = now + _LET_GO_S
                if member.running is not None:
                    _LOG.error("the %s process does not let go of a source and is killed", member.role)
                    member.running[0].kill()

    def _ended(self, member: Member, deadline_s: float, now: float) -> bool:
        """Whether a capture process that was asked to end has; it is killed when its time is up."""
        if member.running is None:
            return True
        if now >= deadline_s or not member.ready:
            # One that still opens its source does not listen.
            member.running[0].kill()
        return False

    def _restart(self, seat: int, deadline_s: float, now: float) -> None:
        index = self._rings.index_of(seat)
        if not self._ended(self._sources.members[index], deadline_s, now):
            return
        del self._restarting[seat]
        table = self._rings.frames[index]
        if self._rings.origins[index] < 0:
            self._rings.origins[index] = table.counts().captured
        table.set_ended(False)
        # Nothing of what the process before had come to is true of the source as it is now.
        self._rings.board.row(self._rings.capture_row(index)).clear()
        source = self._setup.sources[index]
        self._begin(self._sources.renew(index, source), source)

    def _go_on(self, each: _Leaving, stage: Stage, member: Member) -> None:
        """Have the next process let go of a source; one that does not run has done so."""
        each.stage, each.deadline_s = stage, time.monotonic() + _LET_GO_S
        if member.running is not None:
            member.tell("remove", {"seat": each.seat})
            (self._rings.wake_infer if stage == "infer" else self._rings.wake_publish).set()
        elif stage == "infer":
            self._go_on(each, "publish", self._publish)

    def take(self, member: Member, note: Note) -> None:
        """Take in that a process knows a source now (``added``) or has let go of one (``removed``)."""
        seat = int(note.body["seat"])
        if note.kind == "added":
            if member is self._publish and seat in self._joining:
                self._introduce(self._rings.index_of(seat))
            return
        for each in list(self._leaving):
            if each.seat == seat and each.stage == member.role:
                if member is self._infer:
                    self._go_on(each, "publish", self._publish)
                else:
                    self._finish(each)

    def died(self, member: Member) -> None:
        """Infer or publish is gone; the next one is told of all sources but those of `unknown_to`."""
        for each in list(self._leaving):
            if member is self._infer and each.stage == "infer":
                self._go_on(each, "publish", self._publish)

    def briefed(self, member: Member) -> None:
        """A new process was told of the sources."""
        if member is self._publish:
            for seat in sorted(self._joining):
                self._introduce(self._rings.index_of(seat))
            for each in self._leaving:
                if each.stage == "publish":
                    self._go_on(each, "publish", member)

    def _finish(self, each: _Leaving) -> None:
        index = self._rings.index_of(each.seat)
        table, source = self._rings.frames[index], self._setup.sources[index]
        lost = table.count_shutdown()
        counts = table.counts()
        name = source.settings.name
        self._histories[name] = self._rings.remove(index)
        while len(self._histories) > _REMEMBERED:
            del self._histories[next(iter(self._histories))]
        self._leaving.remove(each)
        del self._setup.sources[index]
        self._sources.remove(index)
        data: Data = {**counts._asdict()}
        text = f"source {name} is gone" + (f"; {lost} frame(s) were still on their way" if lost else "")
        self._announce("source-removed", name, "info", text, data)
        if each.successor is not None:
            self._add(each.successor)
        self._on_change()
