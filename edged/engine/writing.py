# SPDX-License-Identifier: Apache-2.0
"""What is said where the state folder cannot be written."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from edged.errors import StateDirError


@contextlib.contextmanager
def writing(folder: Path, what: str = "", comfort: str = "") -> Iterator[None]:
    """For the time of writing something to a folder.

    Args:
        folder: where.
        what: ``an engine``.
        comfort: what is not lost, a clause.

    Raises:
        StateDirError: it cannot be written.
    """
    remedy = "free space there, let this user write, or choose another --state-dir"
    try:
        yield
    except OSError as error:
        raise StateDirError(
            f"{what} cannot be written ({error.strerror})".lstrip(),
            where=str(folder),
            remedy=f"{remedy}; {comfort}" if comfort else remedy,
        ) from error
