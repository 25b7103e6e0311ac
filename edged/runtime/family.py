# SPDX-License-Identifier: Apache-2.0
"""The life of the children: start them, hear them, bury them, start them again when it is time, end them."""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from edged.runtime.channel import ChannelClosedError, Note
from edged.runtime.launch import Launcher
from edged.runtime.members import Member, describe_exit

_LOG = logging.getLogger("edged")
_REAP_S = 2.0


class Wakeable(Protocol):
    """Something with a descriptor that becomes readable."""

    def fileno(self) -> int:
        """The descriptor."""
        ...


class Family:
    """All children, by their channels. Whose child does what is the supervisor's business.

    Args:
        launcher: starts children.
        wakes: what ends a wait besides the children.
        on_note: called with a child and what it said.
        on_death: called with a child that is gone and reaped, and how it ended, in words.
    """

    def __init__(
        self,
        launcher: Launcher,
        wakes: Iterable[Wakeable],
        *,
        on_note: Callable[[Member, Note], None],
        on_death: Callable[[Member, str], None],
    ) -> None:
        self._launcher = launcher
        self._on_note = on_note
        self._on_death = on_death
        self._selector = selectors.DefaultSelector()
        for wake in wakes:
            self._selector.register(wake, selectors.EVENT_READ)

    def launch(self, member: Member) -> None:
        """Start a child."""
        member.start_at = None
        member.error = None
        member.running = self._launcher.start(member.role, member.name)
        self._selector.register(member.running[1], selectors.EVENT_READ, member)

    def restart_due(self, members: Iterable[Member], now: float, *, brief: Callable[[Member], None]) -> None:
        """Start again whose time has come.

        Args:
            members: those to look at.
            now: monotonic seconds.
            brief: tells a new child what it is to do.
        """
        for member in members:
            if member.start_at is not None and now >= member.start_at:
                self.launch(member)
                member.restarts += 1
                brief(member)

    def listen(self, patience_s: float) -> None:
        """Wait for somebody to say something, and hand on all that is said."""
        for key, _ in self._selector.select(patience_s):
            if isinstance(key.data, Member):
                self._hear(key.data)

    def wait(self, patience_s: float) -> None:
        """Wait a moment, at most; hear nobody."""
        self._selector.select(patience_s)

    def end(self, members: Sequence[Member], patience_s: float, *, wake: Callable[[], None] | None = None) -> None:
        """Ask children to stop, and kill those that have not within the time given.

        Those that still start do not listen yet and hold nothing of value: they are not waited for.

        Args:
            members: those to end.
            patience_s: seconds for all of them together.
            wake: rouses those that wait for work or space.
        """
        alive = [member for member in members if member.running is not None]
        for member in alive:
            member.tell("stop")
        if wake is not None:
            wake()
        end = time.monotonic() + patience_s
        for member in alive:
            assert member.running is not None
            handle, _ = member.running
            if handle.wait(max(0.0, end - time.monotonic()) if member.ready else 0.0) is None:
                if member.ready and member.source < 0 and patience_s > 0:
                    _LOG.warning("%s did not stop within %.1f s and is killed", member.label, patience_s)
                handle.kill()
            self.bury(member)

    def exchange(self, first: Member, second: Member) -> None:
        """Have two members change their processes."""
        first.running, second.running = second.running, first.running
        first.ready, second.ready = second.ready, first.ready
        first.error, second.error = second.error, first.error
        for member in (first, second):
            if member.running is not None:
                self._selector.modify(member.running[1], selectors.EVENT_READ, member)

    def bury(self, member: Member) -> str:
        """Reap a child whose channel has ended; returns how it ended, in words."""
        assert member.running is not None
        handle, channel = member.running
        self._selector.unregister(channel)
        channel.close()
        status = handle.wait(_REAP_S)
        if status is None:
            handle.kill()
            status = handle.wait(_REAP_S)
        member.running = None
        member.ready = False
        return describe_exit(status)

    def close(self) -> None:
        """Nobody is listened to any more."""
        self._selector.close()

    def _hear(self, member: Member) -> None:
        while member.running is not None:
            try:
                note = member.running[1].receive()
            except ChannelClosedError:
                self._on_death(member, self.bury(member))
                return
            if note is None:
                return
            self._on_note(member, note)
