# SPDX-License-Identifier: Apache-2.0
"""Writing files so that a reader finds the old content or the new, never half of it."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

TEMPORARY = ".tmp"
"""How the names of files end that are not whole yet; what a killed process left may be removed."""


def write_atomically(path: Path, data: bytes) -> None:
    """Replace a file's content; after a crash it holds the old content or the new."""
    fd, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=TEMPORARY)
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
