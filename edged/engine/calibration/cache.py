# SPDX-License-Identifier: Apache-2.0
"""Calibration histograms of earlier builds.

    <state_dir>/calibration-cache/<model id>/<key>.npz

Taken only where everything is the same that they were made from; where something differs it is said what. The store
must be held while it is written to, see `edged.engine.shelf.hold`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from edged.engine.calibration.key import CalibrationKey, differences
from edged.engine.calibration.packed import BrokenError, pack, unpack
from edged.engine.int8.cache import Sets
from edged.files import TEMPORARY, make_folder, write_atomically

CACHE = "calibration-cache"
KEEP = 4
"""Entries of a model."""

_SUFFIX = ".npz"


class Looked(NamedTuple):
    """What the cache has.

    Attributes:
        sets: histograms by folder and tensor; None where they have to be collected.
        notes: sentences for the user: what was taken, or why nothing was.
    """

    sets: Sets | None
    notes: tuple[str, ...]


class CalibrationCache:
    """A model's calibration histograms.

    Args:
        state_dir: holds the cache.
        model_id: of the model spec.
        keep: entries to keep, those used last.
    """

    def __init__(self, state_dir: Path, model_id: str, keep: int = KEEP) -> None:
        self.folder = state_dir / CACHE / model_id
        self._keep = keep

    def look_up(self, key: CalibrationKey) -> Looked:
        """Find the histograms of a key.

        A file that is broken is removed, and told of like one that cannot be read: it costs time, never a build.
        """
        digest = key.digest()
        notes: list[str] = []
        nearest: list[str] | None = None
        for path in self._entries():
            try:
                found, sets = unpack(path.read_bytes())
            except OSError as error:
                notes.append(f"the calibration cache {path} cannot be read ({error.strerror}) and is not used")
                continue
            except BrokenError as error:
                notes.append(f"the calibration cache {path} is broken ({error}): it is removed and measured anew")
                _remove(path)
                continue
            if found.digest() == digest and path.stem == digest:
                _touch(path)
                # Folders may have got other names since; their order is part of the key.
                named = dict(zip(key.folders, sets.values(), strict=True))
                return Looked(named, (*notes, f"the ranges of {len(key.images)} images are known from before"))
            differing = differences(found, key)
            if nearest is None or len(differing) < len(nearest):
                nearest = differing
        if nearest:
            notes.append(f"ranges known from before cannot be used: {'; '.join(nearest)}")
        return Looked(None, tuple(notes))

    def holds(self, key: CalibrationKey) -> bool:
        """Whether there is an entry of a key, whole or not."""
        return (self.folder / f"{key.digest()}{_SUFFIX}").is_file()

    def store(self, key: CalibrationKey, sets: Sets) -> str:
        """Keep histograms for later builds, and let go of those that were not used for longest.

        Returns:
            Why they could not be kept, a sentence; empty where they were. A build goes on without.
        """
        try:
            make_folder(self.folder)
            for leftover in self.folder.glob(f".*{TEMPORARY}"):
                leftover.unlink()
            write_atomically(self.folder / f"{key.digest()}{_SUFFIX}", pack(key, sets))
            for path in self._entries()[self._keep :]:
                path.unlink()
        except OSError as error:
            return f"the ranges could not be kept for later builds ({error.strerror}): {self.folder}"
        return ""

    def _entries(self) -> list[Path]:
        """Files, those used last first."""
        times = []
        for path in self.folder.glob(f"*{_SUFFIX}"):
            try:
                times.append((path.stat().st_mtime_ns, path))
            except FileNotFoundError:
                continue
        return [path for _, path in sorted(times, reverse=True)]


def _remove(path: Path) -> None:
    """Remove a file; one that cannot be stays, and is found broken again."""
    try:
        path.unlink()
    except OSError:
        return


def _touch(path: Path) -> None:
    """Mark a file as used now; on a file system that takes no more it may go a little earlier."""
    try:
        os.utime(path)
    except OSError:
        return
