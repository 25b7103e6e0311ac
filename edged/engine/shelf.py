# SPDX-License-Identifier: Apache-2.0
"""Writing to the store. Whatever kills a build, at whatever moment, the store holds the old engine or the new one.

An engine's folder is filled under a temporary name and renamed into place; ``current.json`` changes after that. An
engine of the same key is moved aside first, and readers know where to: `edged.engine.store.read_engine`.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from edged.engine.key import differences
from edged.engine.manifest import Manifest, encode
from edged.engine.store import (
    AUTO,
    CURRENT_FILE,
    ENGINES,
    MANIFEST_FILE,
    OLD,
    Current,
    Found,
    model_folder,
    read_current,
    read_engine,
    verify,
)
from edged.engine.writing import writing
from edged.errors import EngineError, RestartWantedError
from edged.files import TEMPORARY, adopt, make_folder, write_atomically

_LOCK_FILE = ".lock"
_written = functools.partial(writing, what="an engine")


class Content:
    """An engine's bytes with their size and digest."""

    def __init__(self, data: bytes | memoryview) -> None:
        self.data = data
        self.size = len(data)
        self.sha256 = hashlib.sha256(data).hexdigest()


class Shelf:
    """A model's part of the store, while the store is held by one builder. Made by `hold`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        _tidy(folder)

    def has(self, key: str) -> Found | None:
        """An engine that is there and whole; None where it has to be built."""
        try:
            engine = read_engine(self.folder, key)
            verify(engine)
        except EngineError:
            return None
        return engine

    def put(self, manifest: Manifest, content: Content, beside: Mapping[str, bytes] | None = None) -> Path:
        """Store an engine under its key; returns its folder. It is not current yet.

        Args:
            manifest: of the engine.
            content: its file.
            beside: further files of its folder, by name.

        Raises:
            StateDirError: it cannot be written.
        """
        with _written(self.folder):
            place = Path(tempfile.mkdtemp(dir=self.folder, prefix=f".{manifest.key[:16]}.", suffix=TEMPORARY))
            try:
                adopt(place)
                _write(place / manifest.file, content.data)
                for name, data in (beside or {}).items():
                    _write(place / name, data)
                _write(place / MANIFEST_FILE, encode(manifest))
                place.chmod(0o755)  # the daemon may run as another user
                _sync(place)
                return self._move(place, manifest.key)
            except BaseException:
                shutil.rmtree(place, ignore_errors=True)
                raise

    def _move(self, place: Path, key: str) -> Path:
        final, aside = self.folder / key, self.folder / f"{key}{OLD}"
        if final.exists():
            final.rename(aside)
        place.rename(final)
        _sync(self.folder)
        shutil.rmtree(aside, ignore_errors=True)
        return final

    def make_current(self, manifest: Manifest, *, chosen: bool) -> list[str]:
        """Have ``edged run`` take an engine.

        It becomes the engine of its precision. It becomes the one for ``auto`` where the builder was free to choose, or
        where the one that is not valid any more: made for another model, GPU, driver or runtime.

        Args:
            manifest: of an engine that was `put`.
            chosen: whether the precision was the builder's choice.

        Returns:
            The names under which it is current now.

        Raises:
            StateDirError: it cannot be written.
        """
        fields = manifest.fields
        try:
            engines = dict(read_current(self.folder).engines)
        except EngineError:
            engines = {}  # broken: what it named has to be built again anyway
        names = [f"{fields.backend}/{fields.precision}"]
        automatic = f"{fields.backend}/{AUTO}"
        if chosen or self._outdated(engines.get(automatic), manifest):
            names.append(automatic)
        engines.update(dict.fromkeys(names, manifest.key))
        content = msgspec.json.format(msgspec.json.encode(Current(engines=engines)), indent=2) + b"\n"
        with _written(self.folder):
            write_atomically(self.folder / CURRENT_FILE, content)
            _sync(self.folder)
        return names

    def _outdated(self, key: str | None, manifest: Manifest) -> bool:
        """Whether an engine is gone, or not valid where this one is."""
        before = None if key is None else self.has(key)
        if before is None:
            return True
        old, new = before.manifest.fields, manifest.fields
        here = msgspec.structs.replace(
            old,
            model=new.model,
            runtime=new.runtime,
            gpu=new.gpu,
            compute_capability=new.compute_capability,
            driver=new.driver,
        )
        return bool(differences(old, here))


@contextlib.contextmanager
def hold(state_dir: Path, model_id: str) -> Iterator[Shelf]:
    """Take the store for one builder; the kernel frees it when the process dies.

    The whole store, since two builds at once would spoil each other's measurements on the GPU.

    Raises:
        RestartWantedError: another builder has it.
        StateDirError: it cannot be written.
    """
    folder = model_folder(state_dir, model_id)
    with _written(folder):
        make_folder(folder)
    with _lock(state_dir / ENGINES):
        with _written(folder):
            shelf = Shelf(folder)
        yield shelf


def tidy(state_dir: Path) -> None:
    """Finish or remove what a killed build left, unless another build is under way, which has done it already.

    Raises:
        StateDirError: it cannot be written.
    """
    engines = state_dir / ENGINES
    if not engines.is_dir():
        return
    try:
        with _lock(engines), _written(engines):
            for folder in engines.iterdir():
                if folder.is_dir():
                    _tidy(folder)
    except RestartWantedError:
        return


@contextlib.contextmanager
def _lock(engines: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        with _written(engines):
            lock = stack.enter_context((engines / _LOCK_FILE).open("a+b"))
            adopt(engines / _LOCK_FILE)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RestartWantedError(
                "another build is under way", where=str(engines), remedy="wait for it, or end it"
            ) from None
        yield


def _tidy(folder: Path) -> None:
    """A model's folder as if no build had been killed in it."""
    for leftover in folder.glob(f".*{TEMPORARY}"):
        if leftover.is_dir():
            shutil.rmtree(leftover)
        else:
            leftover.unlink()
    for aside in folder.glob(f"*{OLD}"):
        final = aside.with_name(aside.name.removesuffix(OLD))
        if final.exists():
            shutil.rmtree(aside)
        else:
            aside.rename(final)


def _write(path: Path, data: bytes | memoryview) -> None:
    with path.open("xb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    path.chmod(0o644)
    adopt(path)


def _sync(folder: Path) -> None:
    """Have the names in a folder survive a loss of power."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
