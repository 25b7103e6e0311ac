# SPDX-License-Identifier: Apache-2.0
"""Reading the kernel's small files over and over, cheaply."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_SIZE = 4096


class UnknownValueError(Exception):
    """A value cannot be had; the text is the reason."""


class SensorFile:
    """A file of sysfs or procfs that stays open; reading at offset 0 makes the kernel produce a fresh value.

    Where reading fails the file is closed, and opened anew at the next reading: a sensor that comes back is seen.

    Args:
        path: where it is.
    """

    __slots__ = ("_fd", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self._fd = -1

    def text(self) -> str:
        """What it says now, without white space around it.

        Raises:
            UnknownValueError: it cannot be read or is empty.
        """
        try:
            if self._fd < 0:
                self._fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            text = os.pread(self._fd, _SIZE, 0).decode(errors="replace").strip("\x00 \t\n")
        except OSError as error:
            self.close()
            raise UnknownValueError(f"{error.strerror or 'read error'} ({self.path})") from error
        if not text:
            self.close()
            raise UnknownValueError(f"empty ({self.path})")
        return text

    def number(self) -> float:
        """The number it holds; errors as with `text`, and where it holds none."""
        text = self.text()
        try:
            return float(text)
        except ValueError as error:
            raise UnknownValueError(f"not a number: {text[:20]!r} ({self.path})") from error

    def close(self) -> None:
        """Close it; the next reading opens it again."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def glance(path: Path) -> str:
    """What a file says at discovery; empty where it cannot be read."""
    try:
        return path.read_text(errors="replace").strip("\x00 \t\n")
    except OSError:
        return ""


def glance_number(path: Path) -> float | None:
    """The number in a file at discovery; None where there is none."""
    try:
        return float(glance(path))
    except ValueError:
        return None


def numbered(folder: Path, prefix: str) -> Iterator[Path]:
    """Entries of a folder that are called ``<prefix><number>``, by number; none where there is no folder."""
    try:
        names = os.listdir(folder)
    except OSError:
        return
    numbers = sorted(int(name[len(prefix) :]) for name in names if _is_numbered(name, prefix))
    yield from (folder / f"{prefix}{number}" for number in numbers)


def _is_numbered(name: str, prefix: str) -> bool:
    rest = name[len(prefix) :]
    return name.startswith(prefix) and rest.isascii() and rest.isdigit()


class Names:
    """Makes names unique: the second ``acpitz`` becomes ``acpitz-2``."""

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def unique(self, name: str) -> str:
        """The name, or the name with a number that was not given before."""
        count = self._seen[name] = self._seen.get(name, 0) + 1
        return name if count == 1 else self.unique(f"{name}-{count}")
