# SPDX-License-Identifier: Apache-2.0
"""What earlier minutes left in the state folder, for the ledger itself and for any other process."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from edged.monitor.ledger.record import DamagedError, Minute, NewerError, decode, is_whole
from edged.monitor.ledger.segments import lines, segments


@dataclass(slots=True)
class Findings:
    """What else a reader met.

    Attributes:
        minutes: lines that were read.
        damaged: lines that were not whole; nothing else is lost with them.
        newer: lines of a later version of edged.
        unreadable: files that could not be read, with the reason.
    """

    minutes: int = 0
    damaged: int = 0
    newer: int = 0
    unreadable: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        """What is wrong, as a clause; empty where nothing is."""
        parts = [f"{self.damaged} min damaged"] if self.damaged else []
        if self.newer:
            parts.append(f"{self.newer} min of a later version of edged")
        return ", ".join(parts + self.unreadable)


def read(folder: Path, findings: Findings | None = None) -> Iterator[Minute]:
    """The minutes on record, oldest first, one at a time: memory for one is enough.

    Args:
        folder: ``<state_dir>/ledger``.
        findings: is told what could not be read.
    """
    findings = findings if findings is not None else Findings()
    return _decoded(_lines(folder, findings, None), findings)


def newest(folder: Path, count: int, findings: Findings) -> list[Minute]:
    """The last so many minutes, oldest first; from the last two files, which hold hundreds and are checked whole."""
    last: deque[bytes] = deque(maxlen=count)
    for line in _lines(folder, findings, 2):
        if is_whole(line):
            last.append(line)
        else:
            findings.damaged += 1
    return list(_decoded(last, findings))


def _lines(folder: Path, findings: Findings, newest_files: int | None) -> Iterator[bytes]:
    try:
        paths = segments(folder)
    except OSError as error:
        findings.unreadable.append(f"{folder}: {error.strerror}")
        return
    for path in paths[-newest_files:] if newest_files else paths:
        try:
            yield from lines(path)
        except OSError as error:
            findings.unreadable.append(f"{path}: {error.strerror}")


def _decoded(records: Iterable[bytes], findings: Findings) -> Iterator[Minute]:
    for line in records:
        try:
            minute = decode(line)
        except DamagedError:
            findings.damaged += 1
        except NewerError:
            findings.newer += 1
        else:
            findings.minutes += 1
            yield minute
