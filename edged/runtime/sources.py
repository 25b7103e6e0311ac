# SPDX-License-Identifier: Apache-2.0
"""The sources and their capture processes: watched, replaced, tried again; and what is said when that changes.

What a source does is decided by its `edged.runtime.source_machine.SourceMachine`; this is its link to the processes,
the shared memory and the events.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from edged.errors import EdgedError, SharedMemoryError
from edged.messages import SourceState
from edged.runtime.channel import Note
from edged.runtime.members import IN_WORDS, Member, SourceStatus
from edged.runtime.rings import Rings
from edged.runtime.setup import SourceSetup
from edged.runtime.source_machine import Deadlines, Order, SourceMachine
from edged.runtime.tally import conclusion, tally
from edged.runtime.verify import Announce
from edged.stages.capture.progress import Progress

_LOOK_S = 0.2
_PART_LOOK_S = 0.05
_PART_S = 10.0
_STALL_S = {True: 1.5, False: 10.0}
_FIRST_S = 10.0
_OPEN_S = 15.0
_OPEN_RTSP_S = 7.0
_RETRY_S = {True: 1.5, False: 30.0}


def deadlines(setup: SourceSetup) -> Deadlines:
    """How long is too long for a source.

    A lossless one has all the time in the world, so that a slow disk is no reason to start it again.
    """
    stall_s = setup.settings.stall_s or _STALL_S[setup.live]
    return Deadlines(
        stall=stall_s,
        first=max(_FIRST_S, 2.0 * stall_s),
        open=_OPEN_RTSP_S if setup.uri.kind == "rtsp" else _OPEN_S,
        retry=_RETRY_S[setup.live],
    )


@dataclass(slots=True)
class _Source:
    setup: SourceSetup
    member: Member
    machine: SourceMachine
    status: SourceStatus = field(default_factory=SourceStatus)
    notes: list[str] = field(default_factory=list)
    first_lost: str = ""
    ended_at: float | None = None
    """Since when it is to be told that it has ended, once all its frames are accounted for."""


class Sources:
    """All sources, in the order of the settings.

    Args:
        setups: what is known of them.
        announce: logs and publishes an event.
        killable: whether capture processes can be killed: threads cannot.

    Attributes:
        names: by index.
        statuses: by index.
        members: their capture processes, by index.
    """

    def __init__(self, setups: Sequence[SourceSetup], announce: Announce, *, killable: bool = True) -> None:
        self._announce = announce
        self._killable = killable
        self._all: list[_Source] = []
        self._rings: Rings | None = None
        self.names: list[str] = []
        self.statuses: list[SourceStatus] = []
        self.members: list[Member] = []
        for setup in setups:
            self.add(setup)

    def add(self, setup: SourceSetup) -> Member:
        """One more source, behind the others; returns its capture process, which is to be launched and briefed."""
        name = setup.settings.name
        member, status = Member("capture", name, len(self._all)), SourceStatus()

        def changed(state: SourceState, reason: str) -> None:
            status.state, status.reason = state, reason
            if state == "ended":
                source.ended_at = time.monotonic()
                return
            severity = "warning" if state in ("backoff", "stalled") else "error" if state == "failed" else "info"
            text = f"source {name} {IN_WORDS[state]}" + (f": {reason}" if reason else "")
            self._announce(f"source-{state}", name, severity, text)

        machine = SourceMachine(deadlines(setup), changed, killable=self._killable)
        source = _Source(setup, member, machine, status)
        self._all.append(source)
        self.names.append(name)
        self.statuses.append(status)
        self.members.append(member)
        return member

    def remove(self, index: int) -> None:
        """Forget a source whose process has been ended; those behind it move up."""
        for listed in (self._all, self.names, self.statuses, self.members):
            del listed[index]
        for place, member in enumerate(self.members):
            member.source = place

    def renew(self, index: int, setup: SourceSetup) -> Member:
        """A source has changed and its process has been ended; returns its new one, which is to be launched."""
        member = self.add(setup)
        self._all[index], self.names[index] = self._all.pop(), self.names.pop()
        self.statuses[index], self.members[index] = self.statuses.pop(), self.members.pop()
        member.source = index
        return member

    def refuse(self, index: int, error: EdgedError) -> None:
        """Note that a source can never work, and whose mistake that is."""
        source = self._all[index]
        source.status.error = error
        source.machine.failed(time.monotonic(), error.what, permanent=True)

    # the processes ---------------------------------------------------------------------------------------------------

    def use(self, rings: Rings) -> None:
        """From now on there is shared memory to look at."""
        self._rings = rings

    def launched(self, member: Member) -> None:
        """A process was started again."""
        self._all[member.source].machine.launched()

    def begun(self, member: Member) -> None:
        """A process was told to open its source."""
        source, now = self._all[member.source], time.monotonic()
        self._count(source, now)  # what came before is no news
        source.machine.begun(now)

    def hear(self, member: Member, note: Note) -> None:
        """Take in what a capture process says: ``opened``, ``resized``, ``remark``, ``ended`` or ``failed``."""
        source, now, body = self._all[member.source], time.monotonic(), note.body
        self._count(source, now)
        if note.kind == "opened":
            member.ready = True
            source.status.decode = body["decode"]
            self._remark(source, body.get("notes", []))
        elif note.kind == "resized":
            before, size = ("{1} × {0}".format(*body[when]) for when in ("before", "now"))
            self._say(source, f"its pictures are {size} pixels now; they were {before}")
        elif note.kind == "remark":
            source.first_lost = source.first_lost or body.get("first", "")
            self._say(source, body["text"])
        elif note.kind == "ended":
            source.machine.ended()
            self.part()
        else:
            if body["permanent"]:
                source.status.error = source.setup.refusal(body["reason"])
            source.machine.failed(now, body["reason"], permanent=body["permanent"], refused=body.get("refused", False))

    def died(self, member: Member, how: str) -> None:
        """A capture process is gone and reaped; says when it is to be started again.

        Args:
            member: which.
            how: it ended, in words.
        """
        source, now = self._all[member.source], time.monotonic()
        machine = source.machine
        self._count(source, now)
        if self._rings is not None:
            self._progress(source).clear(excuse=machine.killed)
        machine.died(now, str(member.error) if member.error else f"the capture process {how}")
        member.start_at = machine.retry_at

    def look(self) -> None:
        """Look how all sources stand, and do what is to be done about it; call it when `due` says so."""
        if self._rings is None:
            return
        self.part()
        for source in self._all:
            now, member = time.monotonic(), source.member
            order = source.machine.look(now, self._progress(source).standing())
            if member.running is None:
                continue
            if order is Order.KILL:
                # Its end shows at its channel; nobody waits for it here.
                member.running[0].kill()
            elif order is Order.TRY and member.tell("open"):
                source.machine.begun(now)

    def due(self, now: float) -> float | None:
        """When to look next, monotonic seconds; None while there is nothing to look at."""
        if self._rings is None:
            return None
        if any(each.ended_at is not None for each in self._all):
            return now + _PART_LOOK_S
        if self.all_over:
            return None
        due = [each.machine.due_at for each in self._all]
        due += [each.machine.retry_at for each in self._all if each.member.running is not None]
        return min([now + _LOOK_S, *(max(at, now) for at in due if at is not None)])

    # what follows ----------------------------------------------------------------------------------------------------

    @property
    def all_over(self) -> bool:
        """Whether none will deliver anything more."""
        return all(state.over for state in self.statuses)

    @property
    def settled(self) -> bool:
        """Whether everything that was captured is published or dropped."""
        try:
            return self._rings is not None and all(table.counts().in_flight == 0 for table in self._rings.frames)
        except SharedMemoryError:
            return False

    def part(self, *, now_or_never: bool = False) -> None:
        """Say of those that have ended what became of their frames, once the last of these is accounted for.

        Args:
            now_or_never: whether to wait for that no longer.
        """
        for index, source in enumerate(self._all):
            if source.ended_at is None:
                continue
            try:
                counts = self._rings.frames[index].counts() if self._rings is not None else None
            except SharedMemoryError:
                continue  # somebody was stopped with the lock in hand
            waits = counts is not None and counts.in_flight and time.monotonic() - source.ended_at < _PART_S
            if waits and not now_or_never:
                continue
            source.ended_at, name = None, source.setup.settings.name
            text = f"source {name} {IN_WORDS['ended']}" + (f": {tally(counts, source.first_lost)}" if counts else "")
            self._announce("source-ended", name, "info", text, {**counts._asdict()} if counts else None)

    @property
    def conclusion(self) -> str:
        """How it all has ended, once all are over and settled."""
        assert self._rings is not None
        return conclusion([each.state for each in self.statuses], [table.counts() for table in self._rings.frames])

    def check(self) -> None:
        """Once everything is settled, a mistake of the user's that leaves no source ends the daemon.

        Raises:
            EdgedError: that mistake.
        """
        errors = [state.error for state in self.statuses if state.error is not None]
        if errors and len(errors) == len(self.statuses) and self.settled:
            raise errors[0]

    def _remark(self, source: _Source, notes: list[str]) -> None:
        """Say what people should know of a source that works all the same; once, not with every new try."""
        for note in notes:
            if note not in source.notes:
                self._say(source, note)
        source.notes = notes

    def _say(self, source: _Source, note: str) -> None:
        name = source.setup.settings.name
        self._announce("source-note", name, "warning", f"source {name}: {note}")

    def _count(self, source: _Source, now: float) -> None:
        if self._rings is not None:
            source.machine.saw(now, self._progress(source).standing().frames)

    def _progress(self, source: _Source) -> Progress:
        assert self._rings is not None
        return Progress(self._rings.board.row(self._rings.capture_row(source.member.source)))
