# SPDX-License-Identifier: Apache-2.0
"""A sample while it is made: a folder under a temporary name, which is renamed when all is there.

Whatever kills a sampling leaves such a folder. The next one goes on with it where it is for the same camera and model;
what is older than a week, or cannot be used, is removed. The kernel's lock says whether somebody works in it.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from edged.engine.images import look
from edged.engine.sampling.record import (
    PROGRESS_FILE,
    RECORD_FILE,
    Kept,
    Record,
    decode,
    encode,
    pixels_digest,
    samples_folder,
)
from edged.engine.writing import writing
from edged.errors import RestartWantedError, StateDirError
from edged.files import TEMPORARY, adopt, make_folder, write_atomically
from edged.stages.capture.readers.base import DecodeError
from edged.stages.capture.readers.folder import read_image

_WEEK_S = 7 * 24 * 3600
_ROOM = 1.2
"""More than the first image says, since others may be harder to compress."""
_written = functools.partial(writing, what="a sample of calibration images")


class WorkFolder:
    """A sample in the making. Made by `begin`.

    Attributes:
        path: of the folder.
        before: what an earlier sampling has left; None where this one is the first.
    """

    def __init__(self, path: Path, lock: int, before: Record | None) -> None:
        self.path = path
        self.before = before
        self._lock = lock

    def put(self, file: str, data: bytes) -> None:
        """Store an image.

        Raises:
            StateDirError: it cannot be written.
        """
        with _written(self.path):
            path = self.path / file
            path.write_bytes(data)
            adopt(path)

    def drop(self, file: str) -> None:
        """Remove an image.

        Raises:
            StateDirError: it cannot be removed.
        """
        with _written(self.path):
            (self.path / file).unlink()

    def check_room(self, nbytes: int) -> None:
        """Make sure that the disk takes what is still to come.

        Raises:
            StateDirError: it does not.
        """
        with _written(self.path):
            free = shutil.disk_usage(self.path).free
        if free < nbytes * _ROOM:
            raise StateDirError(
                f"the images of a sample take about {nbytes * _ROOM / 1e6:.0f} MB and {free / 1e6:.0f} MB are free",
                where=str(self.path.parent),
                remedy="free space there, or choose another --state-dir",
            )

    def remember(self, record: Record) -> None:
        """Write down how far it is, for who goes on after a kill.

        Raises:
            StateDirError: it cannot be written.
        """
        with _written(self.path):
            write_atomically(self.path / PROGRESS_FILE, encode(record))

    def recall(self, images: tuple[Kept, ...]) -> Iterator[tuple[Kept, bytes]]:
        """Images that are there and whole, with the bytes of `edged.engine.images.look`; all other files are removed.

        Raises:
            StateDirError: the folder cannot be read.
        """
        whole = {PROGRESS_FILE, RECORD_FILE}
        for image in images:
            try:
                pixels = read_image(str(self.path), image.file)
            except DecodeError:
                continue
            if pixels_digest(pixels) == image.digest:
                whole.add(image.file)
                yield image, look(pixels).tobytes()
        with _written(self.path):
            for path in self.path.iterdir():
                if path.name not in whole:
                    path.unlink()

    def finish(self, record: Record) -> Path:
        """Have all of it on the disk, and then under its name; returns the folder.

        Raises:
            StateDirError: it cannot be written.
        """
        with _written(self.path):
            for image in record.images:
                _sync(self.path / image.file)
            write_atomically(self.path / RECORD_FILE, encode(record))
            (self.path / PROGRESS_FILE).unlink(missing_ok=True)
            _sync(self.path)
            final = self.path.with_name(final_name(self.path))
            self.path.rename(final)
            _sync(final.parent)
        self.close()
        return final

    def remove(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.path, ignore_errors=True)
        self.close()

    def close(self) -> None:
        """Leave it to the next sampling."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def begin(state_dir: Path, model_id: str, source: str, *, name: str = "", resume: bool) -> WorkFolder:
    """Go on with what a killed sampling has left, or begin anew.

    Args:
        state_dir: holds the samples.
        model_id: whose calibration it is for.
        source: its URI without credentials.
        name: of the sample; default: the time.
        resume: whether what was left is of any use.

    Raises:
        RestartWantedError: another sampling works under this name.
        StateDirError: the folder cannot be written, or there is a sample of this name.
    """
    parent = samples_folder(state_dir, model_id)
    with _written(parent):
        make_folder(parent)
        if name and (parent / name).exists():
            raise StateDirError(
                "there is a sample of this name", where=str(parent / name), remedy="choose another name"
            )
        found: WorkFolder | None = None
        for path in sorted(parent.glob(f".*{TEMPORARY}")):
            left = _claim(path)
            if left is None:
                continue
            fits = left.before is not None and left.before.source == source and name in ("", final_name(path))
            if found is None and fits and resume:
                found = left
            elif fits or final_name(path) == name or _of_no_use(left.before):
                left.remove()
            else:
                left.close()
        return found or _new(parent, name)


def _of_no_use(before: Record | None) -> bool:
    return before is None or time.time() - before.ended_at > _WEEK_S


def final_name(path: Path) -> str:
    """What an unfinished sample is going to be called."""
    return path.name.removeprefix(".").removesuffix(TEMPORARY)


def _new(parent: Path, name: str) -> WorkFolder:
    stem = name or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    unique, number = stem, 1
    while not name and ((parent / unique).exists() or (parent / f".{unique}{TEMPORARY}").exists()):
        number += 1
        unique = f"{stem}-{number}"
    path = parent / f".{unique}{TEMPORARY}"
    # What a camera sees is nobody's business.
    path.mkdir(mode=0o700, exist_ok=True)
    adopt(path)
    made = _claim(path)
    if made is None:
        raise RestartWantedError("another sampling works here", where=str(path), remedy="wait for it, or end it")
    return made


def _claim(path: Path) -> WorkFolder | None:
    """A folder that nobody works in, with what was written down; None where somebody does."""
    try:
        lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        return None
    for file in (PROGRESS_FILE, RECORD_FILE):
        try:
            return WorkFolder(path, lock, decode((path / file).read_bytes()))
        except (FileNotFoundError, ValueError):
            continue
    return WorkFolder(path, lock, None)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
