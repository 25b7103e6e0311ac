# SPDX-License-Identifier: Apache-2.0
"""The page as a file."""

from __future__ import annotations

from pathlib import Path

from edged.engine.report.data import ReportData
from edged.errors import StateDirError
from edged.files import write_atomically

FILE = "report.html"
"""What it is called beside an engine."""


def write_report(data: ReportData, path: Path) -> None:
    """Write the page: whole or not at all. Imports matplotlib.

    Raises:
        StateDirError: the file cannot be written.
    """
    from edged.engine.report.page import page

    content = page(data).encode()
    try:
        write_atomically(path, content)
    except OSError as error:
        raise StateDirError(
            f"the report cannot be written: {error.strerror}", where=str(path), remedy="free space or give access"
        ) from error
