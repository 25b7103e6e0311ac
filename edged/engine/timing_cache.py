# SPDX-License-Identifier: Apache-2.0
"""TensorRT's measurements of earlier builds: they make the next build many times faster, and are never needed."""

from __future__ import annotations

from pathlib import Path

from edged.errors import StateDirError
from edged.files import make_folder, write_atomically


def kept(path: Path) -> bytes:
    """The cache's content; empty where there is none yet.

    Raises:
        StateDirError: it cannot be read.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise StateDirError(
            f"the timing cache cannot be read: {error.strerror}", where=str(path), remedy="correct --timing-cache"
        ) from error


def keep(path: Path, content: bytes) -> None:
    """Replace the cache's content, where there is any.

    Raises:
        StateDirError: it cannot be written.
    """
    if not content:
        return
    try:
        make_folder(path.parent)
        write_atomically(path, content)
    except OSError as error:
        raise StateDirError(
            f"the timing cache cannot be written: {error.strerror}", where=str(path), remedy="correct --timing-cache"
        ) from error
