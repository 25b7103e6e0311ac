# SPDX-License-Identifier: Apache-2.0
"""What this process has open, for tests that nothing may stay open after."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def open_files(of: str = "") -> set[str]:
    """Descriptors of this process: number, what it leads to and inode.

    A set, since only what a test itself opened may be missed in the end: what an earlier test of this process let go
    of is closed whenever it is collected, and a count would take that for a leak the other way round.

    Args:
        of: only those that lead to something with this in its name, such as ``memfd:edged-``.
    """
    found = set()
    for path in Path("/proc/self/fd").iterdir():
        # The descriptor with which this folder is read is gone by now.
        with suppress(FileNotFoundError):
            target = os.readlink(path)
            if of in target:
                found.add(f"{path.name} {target} {path.stat().st_ino}")
    return found
