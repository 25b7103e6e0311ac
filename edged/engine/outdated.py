# SPDX-License-Identifier: Apache-2.0
"""Which engines of a model may go once a new one is there, so that the store does not grow with every build."""

from __future__ import annotations

import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from edged.engine.lease import unused
from edged.engine.manifest import Manifest
from edged.engine.store import read_current, read_engine
from edged.errors import EngineError
from edged.files import TEMPORARY

_KEY = re.compile(r"[0-9a-f]{64}")


class Outdated(NamedTuple):
    """An engine that nothing names any more.

    Attributes:
        key: its name in the store.
        kind: for example ``tensorrt/fp16``; ``broken`` where its manifest cannot be read.
        size: bytes of its folder.
        fate: ``removed``; ``in use`` where a running daemon has it; else why it could not be removed.
    """

    key: str
    kind: str
    size: int
    fate: str

    def __str__(self) -> str:
        return f"{self.kind} {self.key[:12]}"


def remove_outdated(folder: Path, keep: int) -> list[Outdated]:
    """Remove a model's engines that are neither current nor among the last ``keep`` others of their kind.

    A kind is a backend and a precision. The store must be held, see `edged.engine.shelf.hold`. A removal that is killed
    leaves a temporary folder, which the next builder clears away.

    Args:
        folder: of the model's engines.
        keep: engines of each kind to keep beside the current one, the newest first.

    Returns:
        What was to go, and what became of it.

    Raises:
        EngineError: which engines are current cannot be read; nothing was removed.
    """
    current = set(read_current(folder).engines.values())
    kinds: dict[str, list[tuple[float, str]]] = defaultdict(list)
    for path in folder.iterdir():
        if path.name not in current and _KEY.fullmatch(path.name) and path.is_dir():
            manifest = _manifest(folder, path.name)
            if manifest is None:
                kinds["broken"].append((0.0, path.name))
            else:
                kind = f"{manifest.fields.backend}/{manifest.fields.precision}"
                kinds[kind].append((manifest.created_at, path.name))
    found = []
    for kind, engines in sorted(kinds.items()):
        kept = 0 if kind == "broken" else keep
        found += [_remove(folder, key, kind) for _, key in sorted(engines, reverse=True)[kept:]]
    return found


def _manifest(folder: Path, key: str) -> Manifest | None:
    try:
        return read_engine(folder, key).manifest
    except EngineError:
        return None


def _remove(folder: Path, key: str, kind: str) -> Outdated:
    path = folder / key
    size = 0
    try:
        size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
        with unused(path) as free:
            if not free:
                return Outdated(key, kind, size, "in use")
            # Under another name first: who looks finds the whole engine or none.
            gone = path.rename(folder / f".{key[:16]}{TEMPORARY}")
            shutil.rmtree(gone)
    except OSError as error:
        return Outdated(key, kind, size, f"could not be removed: {error.strerror}")
    return Outdated(key, kind, size, "removed")
