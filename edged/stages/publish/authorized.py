# SPDX-License-Identifier: Apache-2.0
"""The clients that may subscribe now: a folder of public keys that is followed while the daemon runs."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from edged.errors import SettingsError
from edged.stages.publish.security import load_public

_LOOK_EVERY_S = 0.5
_LOOK_AGAIN_S = 0.05
_FRESH_NS = 2_000_000_000
"""A file that was changed so lately may be changed again without its time stamp telling."""

_Stamp = tuple[str, int, int, int]


class AuthorizedKeys:
    """The keys in a folder. A key is good from the moment its file is there until it is gone.

    Args:
        folder: of ``*.key`` files.
        keys: what was found there at the start.
        clock: seconds.

    Attributes:
        keys: public keys that may connect as of the last `refresh`, Z85.
        remarks: what is wrong in the folder, one text a problem, for whoever empties this list.
    """

    def __init__(self, folder: Path, keys: frozenset[bytes], clock: Callable[[], float] = time.monotonic) -> None:
        self.keys = keys
        self.remarks: list[str] = []
        self._folder = folder
        self._clock = clock
        self._looked_s = float("-inf")
        self._stamps: list[_Stamp] | None = None
        self._told: set[str] = set()

    def refresh(self, *, soon: bool = False) -> frozenset[bytes]:
        """Follow the folder; looks at it at most twice a second, and reads it only when something in it changed.

        Args:
            soon: a key was shown that is not known: look up to twenty times a second.

        Returns:
            Keys that were good before and are not any more.
        """
        now = self._clock()
        if now - self._looked_s < (_LOOK_AGAIN_S if soon else _LOOK_EVERY_S):
            return frozenset()
        self._looked_s = now
        found = self._look()
        if found is not None and found == self._stamps:
            return frozenset()
        before, self.keys = self.keys, self._read(found or [])
        recent = time.time_ns() - _FRESH_NS
        self._stamps = None if found is None or any(stamp[1] > recent for stamp in found) else found
        return before - self.keys

    def _look(self) -> list[_Stamp] | None:
        try:
            with os.scandir(self._folder) as entries:
                found = [stamp for entry in entries if entry.name.endswith(".key") and (stamp := _stamp(entry))]
        except OSError as error:
            # Nobody is let in on a guess.
            text = f"{self._folder} cannot be read ({error.strerror}): nobody is let in over tcp"
            self._tell(str(self._folder), text)
            return None
        self._told.discard(str(self._folder))
        return sorted(found)

    def _read(self, stamps: list[_Stamp]) -> frozenset[bytes]:
        keys = set()
        for name, *_ in stamps:
            try:
                keys.add(load_public(self._folder / name, "publish.curve.authorized_keys_dir"))
            except SettingsError as error:
                if not (self._folder / name).exists():
                    continue
                # One bad file, perhaps half written, locks nobody else out.
                self._tell(name, str(error))
            else:
                self._told.discard(name)
        return frozenset(keys)

    def _tell(self, what: str, text: str) -> None:
        if what not in self._told:
            self._told.add(what)
            self.remarks.append(text)


def _stamp(entry: os.DirEntry[str]) -> _Stamp | None:
    """What tells one state of a file from another; None when it has gone."""
    try:
        stat = entry.stat()
    except FileNotFoundError:
        return None
    return entry.name, stat.st_mtime_ns, stat.st_ino, stat.st_size
