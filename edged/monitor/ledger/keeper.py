# SPDX-License-Identifier: Apache-2.0
"""Keeps minutes in the state folder; where that fails, it says so once and goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from edged.monitor.ledger.history import Findings, newest, read
from edged.monitor.ledger.record import Minute, encode
from edged.monitor.ledger.segments import append

NOTICES = 16
"""More are not kept for whoever does not take them."""


class Notice(NamedTuple):
    """Something to tell: how bad it is, and a sentence."""

    severity: Literal["info", "warning"]
    text: str


class Keeper:
    """The minutes on disk.

    Nothing here raises for what the disk does: figures go on without it.

    Args:
        folder: ``<state_dir>/ledger``; None keeps nothing.
        append: appends a line in a folder, or raises OSError.
    """

    def __init__(self, folder: Path | None, append: Callable[[Path, bytes], None] = append) -> None:
        self._folder = folder
        self._append = append
        self._missing = 0
        self._notices: list[Notice] = []

    def newest(self, count: int) -> list[Minute]:
        """The last so many minutes on record."""
        if self._folder is None:
            return []
        findings = Findings()
        minutes = newest(self._folder, count, findings)
        if str(findings):
            self._tell("warning", f"the ledger in {self._folder} cannot all be read ({findings}); the rest is used")
        return minutes

    def of_series(self, series: str, number: int) -> Minute | None:
        """A minute of a series that memory no longer holds."""
        if self._folder is None:
            return None
        wanted = (minute for minute in read(self._folder) if minute.series == series and minute.number == number)
        return next(wanted, None)

    def between(self, boot: str, from_us: int, to_us: int) -> Iterator[Minute]:
        """The minutes of a boot that begin in a stretch of time, oldest first."""
        if self._folder is not None:
            for minute in read(self._folder):
                if minute.boot == boot and from_us <= minute.start_us < to_us:
                    yield minute

    def keep(self, minute: Minute) -> None:
        """Append a minute."""
        if self._folder is None:
            return
        try:
            self._append(self._folder, encode(minute))
        except OSError as error:
            self._missing += 1
            if self._missing == 1:
                self._tell(
                    "warning",
                    f"the ledger cannot be kept in {self._folder} ({error.strerror}): make room or mend it; "
                    "figures go on without history",
                )
        else:
            if self._missing:
                self._tell("info", f"the ledger is kept again in {self._folder}; {self._missing} min are missing")
            self._missing = 0

    def take_notices(self) -> list[Notice]:
        """What is to be told since the last call."""
        notices, self._notices = self._notices, []
        return notices

    def _tell(self, severity: Literal["info", "warning"], text: str) -> None:
        if len(self._notices) < NOTICES:
            self._notices.append(Notice(severity, text))
