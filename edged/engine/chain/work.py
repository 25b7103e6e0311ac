# SPDX-License-Identifier: Apache-2.0
"""What a build has found so far, so that one that is killed goes on where it was.

    <state_dir>/work/<model id>/search-<subject>.jsonl    losses and distances of plans
    <state_dir>/work/<model id>/<key>.json, <key>.bin     engines that were built and not stored yet

A build that ends well leaves none of it; one that is refused leaves the search, so that asking for less costs little.
"""

from __future__ import annotations

import functools
import hashlib
import shutil
from pathlib import Path

import msgspec

from edged.engine.key import EngineKey
from edged.engine.workshop import Made
from edged.engine.writing import writing
from edged.files import TEMPORARY, make_folder, write_atomically

WORK = "work"
JOURNALS = 4
"""Searches of a model that are kept."""
written = functools.partial(writing, comfort="what was measured is kept")
"""For the time of writing to a folder, see `writing`."""


class _Record(msgspec.Struct, frozen=True):
    """An engine without its content, and that content's digest."""

    made: Made
    sha256: str


class Work:
    """A model's unfinished work. The store must be held while it is changed, see `edged.engine.shelf.hold`.

    Args:
        state_dir: holds it.
        model_id: of the model spec.
    """

    def __init__(self, state_dir: Path, model_id: str) -> None:
        self.folder = state_dir / WORK / model_id

    def make(self) -> None:
        """Make the folder.

        Raises:
            OSError: it cannot be made.
        """
        make_folder(self.folder)

    def journal(self, subject: str) -> Path:
        """Where the search of a subject is written down.

        Raises:
            StateDirError: the folder cannot be made.
        """
        with written(self.folder):
            self.make()
            for leftover in self.folder.glob(f".*{TEMPORARY}"):
                leftover.unlink()
            others = sorted(self.folder.glob("search-*.jsonl"), key=lambda path: path.stat().st_mtime, reverse=True)
            for path in others[JOURNALS:]:
                path.unlink()
        return self._journal(subject)

    def searched(self, subject: str) -> bool:
        """Whether a search of a subject has begun."""
        return self._journal(subject).is_file()

    def _journal(self, subject: str) -> Path:
        return self.folder / f"search-{subject[:16]}.jsonl"

    def engine(self, key: EngineKey) -> Made | None:
        """An engine that an earlier build made and could not store any more."""
        stem = self.folder / key.digest()
        try:
            record = msgspec.json.decode(stem.with_suffix(".json").read_bytes(), type=_Record)
            content = stem.with_suffix(".bin").read_bytes()
        except (OSError, msgspec.DecodeError):
            return None
        if hashlib.sha256(content).hexdigest() != record.sha256:
            return None
        return record.made._replace(content=content)

    def keep(self, key: EngineKey, made: Made) -> str:
        """Keep an engine until it is stored.

        Returns:
            Why it could not be kept, a sentence; empty where it was. A build goes on without.
        """
        stem = self.folder / key.digest()
        record = _Record(made._replace(content=b""), hashlib.sha256(made.content).hexdigest())
        try:
            self.make()
            write_atomically(stem.with_suffix(".bin"), made.content)
            write_atomically(stem.with_suffix(".json"), msgspec.json.encode(record))
        except OSError as error:
            return f"a killed build would have to begin again: {self.folder} cannot be written ({error.strerror})"
        return ""

    def refused(self) -> None:
        """Nothing is going to be stored: let go of the engines."""
        for path in [*self.folder.glob("*.bin"), *self.folder.glob("*.json")]:
            path.unlink(missing_ok=True)

    def done(self) -> None:
        """All is stored: let go of everything."""
        shutil.rmtree(self.folder, ignore_errors=True)
