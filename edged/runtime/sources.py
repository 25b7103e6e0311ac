# SPDX-License-Identifier: Apache-2.0
"""What the supervisor knows of the sources, and what it says when that changes."""

from __future__ import annotations

from collections.abc import Sequence

from edged.errors import EdgedError
from edged.messages import SourceState
from edged.runtime.channel import Note
from edged.runtime.members import IN_WORDS, SourceStatus
from edged.runtime.setup import SourceSetup
from edged.runtime.verify import Announce


class Sources:
    """The states of all sources.

    Args:
        setups: the sources, by index.
        announce: logs and publishes an event.

    Attributes:
        names: by index.
        statuses: by index.
    """

    def __init__(self, setups: Sequence[SourceSetup], announce: Announce) -> None:
        self._setups = setups
        self._announce = announce
        self.names = [source.settings.name for source in setups]
        self.statuses = [SourceStatus() for _ in setups]

    @property
    def all_over(self) -> bool:
        """Whether none will deliver anything more."""
        return all(state.over for state in self.statuses)

    def take(self, index: int, note: Note) -> None:
        """Take in what a capture process says: ``opened``, ``ended`` or ``failed``."""
        if note.kind == "opened":
            self.set(index, "live", "", decode=note.body["decode"])
        elif note.kind == "ended":
            self.set(index, "ended", "")
        elif note.body["permanent"]:
            reason = note.body["reason"]
            self.fail(index, reason, self._setups[index].refusal(reason))
        else:
            self.set(index, "backoff", note.body["reason"])

    def set(self, index: int, state: SourceState, reason: str, *, decode: str | None = None) -> None:
        """Note a state, and announce it if it is a new one."""
        current = self.statuses[index]
        changed = (current.state, current.reason) != (state, reason)
        current.state, current.reason = state, reason
        if decode is not None:
            current.decode = decode
        if changed:
            severity = "warning" if state in ("backoff", "stalled") else "error" if state == "failed" else "info"
            text = f"source {self.names[index]} {IN_WORDS[state]}" + (f": {reason}" if reason else "")
            self._announce(f"source-{state}", self.names[index], severity, text)

    def fail(self, index: int, reason: str, error: EdgedError) -> None:
        """Note that a source can never work, and whose mistake that is."""
        self.statuses[index].error = error
        self.set(index, "failed", reason)

    def mistake(self) -> EdgedError | None:
        """A user's mistake that leaves no source which could ever deliver."""
        errors = [state.error for state in self.statuses if state.error is not None]
        return errors[0] if errors and len(errors) == len(self.statuses) else None
