# SPDX-License-Identifier: Apache-2.0
"""The supervisor's side of a build that goes on while it serves."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from edged.runtime.build_first import BuildReport, serving_request
from edged.runtime.channel import Note
from edged.runtime.family import Family
from edged.runtime.members import Member
from edged.runtime.plans import BuildPlan
from edged.runtime.setup import Setup
from edged.runtime.verify import Announce

_SEND_S = 1.0


class Building:
    """Has the engine built that the settings ask for. A build that fails is not tried again until a reload.

    Args:
        setup: of the daemon.
        family: starts children.
        announce: logs and publishes an event.
        on_built: told that the store may hold another engine.
    """

    def __init__(self, setup: Setup, family: Family, announce: Announce, on_built: Callable[[], None]) -> None:
        self.member = Member("build", "engine")
        self._setup = setup
        self._family = family
        self._announce = announce
        self._on_built = on_built
        self._report = BuildReport(doing="building")
        self._done = False

    @property
    def members(self) -> list[Member]:
        """The process that builds, while there is one."""
        return [self.member] if self.member.running is not None else []

    def begin(self, wanted: str) -> None:
        """Start to build, unless that is under way.

        Args:
            wanted: why, a clause.
        """
        if self.member.running is not None:
            return
        # Only now: most daemons build nothing.
        request = msgspec.to_builtins(serving_request(self._setup.settings))
        self._announce("build-started", "", "info", f"an engine is built while frames are served: {wanted}")
        self._report, self._done = BuildReport(doing="building"), False
        self._family.launch(self.member)
        self.member.tell("configure", msgspec.to_builtins(BuildPlan(request=request)), wait_s=_SEND_S)

    def take(self, note: Note) -> None:
        """Take in what the process says."""
        if note.kind == "build":
            from edged.engine.protocol import Event

            self._report.tell(msgspec.convert(note.body, Event))
        elif note.kind == "built":
            self._done = True
            text = f"the engine was built in {self._report.elapsed_s:.1f} s: {note.body['folder']}"
            self._announce("build-done", "", "info", text, {"engine": note.body["key"]})

    def look(self) -> None:
        """Say from time to time how far it is; call it about once a second."""
        if self.member.running is not None:
            self._report.tick()

    def died(self, how: str) -> None:
        """The process is gone."""
        if self._done:
            self._on_built()
            return
        text = str(self.member.error) if self.member.error else f"the process that builds {how}"
        self._announce("build-failed", "", "error", f"no engine was built: {text}; a reload tries again")
