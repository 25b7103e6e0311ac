# SPDX-License-Identifier: Apache-2.0
"""A daemon's record in its state folder: how ``edged reload`` finds it, and learns what came of it."""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import msgspec

from edged.config_sources import from_flags
from edged.files import TEMPORARY

_PATTERN = "daemon-*.json"
_FOUND_BY = "daemon.state_dir"


class Reloaded(msgspec.Struct, frozen=True):
    """What came of reading the settings again.

    Attributes:
        outcome: all applied; some need a restart; or nothing was changed.
        text: in a clause.
        exit_code: of the error, where there was one.
    """

    outcome: Literal["applied", "restart", "refused"]
    text: str
    exit_code: int


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """What the file holds.

    Attributes:
        pid: of the supervisor.
        started: when that process was started, in the kernel's clock ticks: tells it from a later one of that number.
        config: path of its settings file; empty where it has none.
        reloads: how often the settings were read again.
        last: what came of it the last time.
        flags: what `flags_of` makes of the settings on its command line; None: kept by a version that did not note it.
    """

    pid: int
    started: int
    config: str
    reloads: int = 0
    last: Reloaded | None = None
    flags: dict[str, str] | None = None

    @property
    def alive(self) -> bool:
        """Whether the daemon still runs."""
        return start_of(self.pid) == self.started

    @property
    def shown(self) -> str:
        """What tells a person which daemon this is."""
        if self.flags is None:
            return f"pid {self.pid}"
        return f"pid {self.pid} ({', '.join(f'--{key}' for key in self.flags) or 'no flags'})"


class DaemonRecord:
    """Kept by the supervisor from when it can be asked to reload until its end.

    Args:
        state_dir: of the daemon.
        config: its settings file; None where it has none.
        overrides: flags of the form ``--section.key value``.
    """

    def __init__(self, state_dir: Path, config: Path | None, overrides: Sequence[str] = ()) -> None:
        pid = os.getpid()
        self._path = state_dir / f"daemon-{pid}.json"
        self._entry = Entry(
            pid=pid,
            started=start_of(pid) or 0,
            config="" if config is None else str(config.resolve()),
            flags=flags_of(overrides),
        )

    def begin(self) -> None:
        """Write it, and remove those that killed daemons have left."""
        find(self._path.parent)
        self._write()

    def write(self, last: Reloaded) -> None:
        """Note what came of reading the settings again."""
        self._entry = msgspec.structs.replace(self._entry, reloads=self._entry.reloads + 1, last=last)
        self._write()

    def close(self) -> None:
        """The daemon ends."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        # A convenience: a full disk must not end a daemon that works.
        with contextlib.suppress(OSError):
            whole = self._path.with_suffix(TEMPORARY)
            whole.write_bytes(msgspec.json.encode(self._entry))
            whole.replace(self._path)


def flags_of(overrides: Sequence[str]) -> dict[str, str]:
    """What tells apart the daemons of one settings file: a digest of each flag's value, which may be secret, by key.

    The state folder is left out: the record was found in it, however it was written.
    """
    given = from_flags(overrides)
    return {
        key: hashlib.sha256(given[key].text.encode("utf-8", "surrogateescape")).hexdigest()[:16]
        for key in sorted(given)
        if key != _FOUND_BY
    }


def find(state_dir: Path) -> list[Entry]:
    """Daemons that run with a state folder; records of others are removed where that is allowed."""
    found = []
    for path in sorted(state_dir.glob(_PATTERN)):
        entry = read(path)
        if entry is not None and entry.alive:
            found.append(entry)
        else:
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
    return found


def read(path: Path) -> Entry | None:
    """A record; None where there is none that can be read."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Entry)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None


def path_of(state_dir: Path, entry: Entry) -> Path:
    """Where a daemon's record lies."""
    return state_dir / f"daemon-{entry.pid}.json"


def start_of(pid: int) -> int | None:
    """When a process was started, in clock ticks since the boot; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    return int(text.rpartition(")")[2].split()[19])
