# SPDX-License-Identifier: Apache-2.0
"""Lines in files that are only ever appended to: bounded in size, and whole up to the moment of a crash.

``minutes-00000001.log``, ``minutes-00000002.log`` …: lines go to the last one; when it is full the next is begun and
the oldest is removed. Another process may read at any time. A line goes out in one write, and nothing is ever written
over another: a process killed at any moment, or a power cut, leaves at most half a line or zeros at the end, which cost
that line alone. It is not synced: that would stop the caller for as long as the disk takes, to save a minute.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from edged.files import adopt, make_folder
from edged.monitor.ledger.record import LONGEST_LINE

SEGMENT_BYTES = 512 * 1024
SEGMENTS = 16
MOST_BYTES = SEGMENTS * (SEGMENT_BYTES + LONGEST_LINE)
"""No more is ever on disk: 8.4 MiB."""
_NAME = re.compile(r"minutes-([0-9]{8})\.log")
_CHUNK = 64 * 1024


def segments(folder: Path) -> list[Path]:
    """The files, oldest first; none where there is no folder.

    Raises:
        OSError: the folder cannot be listed.
    """
    try:
        names = sorted(name for name in os.listdir(folder) if _NAME.fullmatch(name))
    except FileNotFoundError:
        return []
    return [folder / name for name in names]


def append(folder: Path, line: bytes, *, segment_bytes: int = SEGMENT_BYTES, most: int = SEGMENTS) -> None:
    """Append a line, in a new file where the last one is full; the folder is made if need be.

    Args:
        folder: where the files are.
        line: with its end; at most `LONGEST_LINE` bytes.
        segment_bytes: a file of this size or more is full.
        most: how many files are kept.

    Raises:
        OSError: it could not be written whole, for instance because the disk is full; then nothing was.
    """
    files = segments(folder)
    if not files:
        make_folder(folder)
        files = [folder / "minutes-00000001.log"]
    elif files[-1].stat().st_size >= segment_bytes:
        number = int(_NAME.fullmatch(files[-1].name)[1]) + 1  # type: ignore[index]  # the name matched already
        files.append(folder / f"minutes-{number:08d}.log")
    for path in files[:-most]:
        path.unlink(missing_ok=True)
    _append(files[-1], line)


def lines(path: Path) -> Iterator[bytes]:
    """The lines of one file, without their ends, the unfinished last one included; one that is too long as b"".

    Raises:
        OSError: it cannot be read. A file that has been removed meanwhile has no lines.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        rest, skipping = b"", False
        while chunk := file.read(_CHUNK):
            *whole, rest = (rest + chunk).split(b"\n")
            for line in whole:
                yield b"" if skipping or len(line) > LONGEST_LINE else line
                skipping = False
            if len(rest) > LONGEST_LINE:
                rest, skipping = b"", True
        if rest or skipping:
            yield rest if not skipping else b""


def _append(path: Path, line: bytes) -> None:
    fd = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            adopt(path)
        elif os.pread(fd, 1, size - 1) != b"\n":
            line = b"\n" + line  # half a line of a power cut costs itself, not the next one
        try:
            if os.write(fd, line) != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            os.ftruncate(fd, size)
            raise
    finally:
        os.close(fd)
