# SPDX-License-Identifier: Apache-2.0
"""What a search has measured, on disk as it goes: a search that was killed starts again and skips what is known."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import msgspec

from edged.errors import StateDirError

FORMAT = 1
Kind = Literal["loss", "distance"]


class _Head(msgspec.Struct):
    format: int
    subject: str


class _Line(msgspec.Struct):
    kind: Kind
    plan: str
    value: float | None
    """None stands for infinite, for which JSON has no word."""


class Journal:
    """Figures of plans, kept in a JSON-lines file.

    Args:
        path: the file; None keeps them in memory only.
        subject: identifies what is searched (model, frames, labels …); a file of another subject is begun anew.

    Raises:
        StateDirError: the file cannot be written.
    """

    def __init__(self, path: Path | None, subject: str) -> None:
        self._path = path
        self._known: dict[tuple[Kind, str], float] = {}
        if path is not None:
            self._restore(path, subject)

    def __len__(self) -> int:
        return len(self._known)

    def get(self, kind: Kind, plan: str) -> float | None:
        """What is known of a plan."""
        return self._known.get((kind, plan))

    def put(self, kind: Kind, plan: str, value: float) -> None:
        """Keep a figure; it is on disk when this returns.

        Raises:
            StateDirError: the file cannot be written.
        """
        self._known[kind, plan] = value
        self._append(msgspec.json.encode(_Line(kind, plan, value if abs(value) != float("inf") else None)))

    def _restore(self, path: Path, subject: str) -> None:
        head = msgspec.json.encode(_Head(FORMAT, subject))
        try:
            lines = path.read_bytes().split(b"\n") if path.is_file() else []
            if lines[:1] != [head]:
                path.write_bytes(head + b"\n")
                return
        except OSError as error:
            raise self._unwritable(error) from error
        for line in lines[1:]:
            try:
                entry = msgspec.json.decode(line, type=_Line)
            except msgspec.DecodeError:
                continue  # the end of what a kill cut short
            self._known[entry.kind, entry.plan] = float("inf") if entry.value is None else entry.value
        if lines[-1]:
            self._append(b"")

    def _append(self, line: bytes) -> None:
        if self._path is None:
            return
        try:
            with self._path.open("ab") as file:
                file.write(line + b"\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> StateDirError:
        return StateDirError(
            f"the search's journal cannot be written ({error.strerror})",
            where=str(self._path),
            remedy="make room or choose another state_dir; what was measured so far is kept",
        )
