# SPDX-License-Identifier: Apache-2.0
"""Pictures as files. Matplotlib is imported only where one is wanted."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from edged.errors import StateDirError
from edged.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def blank(width: float, height: float) -> Figure:
    """A figure of so many inches, which `write` can store."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasSVG(figure)
    return figure


def write(figure: Figure, path: Path) -> None:
    """Store a figure as SVG, the same bytes whenever it is drawn.

    Raises:
        StateDirError: the file cannot be written.
    """
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    try:
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise StateDirError(f"the plot cannot be written: {error.strerror}", where=str(path)) from error
