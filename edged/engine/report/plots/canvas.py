# SPDX-License-Identifier: Apache-2.0
"""A matplotlib figure as a piece of an HTML page: the same bytes each time, its own ids, no outside reference."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from edged.engine.report import palette
from edged.engine.report.markup import Html, element, safe
from edged.engine.report.words import clean

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STYLE: dict[str, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": palette.FAINT,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": palette.INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.unicode_minus": True,
    "figure.constrained_layout.use": True,
    "figure.facecolor": "none",
    "font.size": 10,
    "grid.color": palette.LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "legend.labelcolor": palette.INK,
    # Text stays text: it can be searched and read aloud, and takes a third of the bytes.
    "svg.fonttype": "none",
    "text.color": palette.INK,
    # Names with a dollar sign are not formulas.
    "text.parse_math": False,
    "xtick.color": palette.FAINT,
    "xtick.labelcolor": palette.INK,
    "ytick.color": palette.FAINT,
    "ytick.labelcolor": palette.INK,
}
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_UNWANTED = re.compile(r"<metadata>.*?</metadata>|<style[^>]*>.*?</style>|<!--.*?-->", re.DOTALL)
_OPENING = re.compile(r"<svg[^>]*>")
_VIEW = re.compile(r'viewBox="[^"]*"')
_IDS = re.compile(r'(?<=\bid=")|(?<=href="#)|(?<=url\(#)')
_FONT = re.compile(r"font: ([^;\"]*?)px [^;\"]*")


def draw(name: str, told: str, paint: Callable[[Figure], None], width: float = 9.6, height: float = 3.8) -> Html:
    """Draw a figure and wrap it up.

    Args:
        name: prefix of its ids; each on a page has another.
        told: what it shows: the text below it, which is read to those who cannot see it.
        paint: draws on an empty figure.
        width: inches of 72 units; the page scales it down where there is less room.
        height: likewise.

    Matplotlib's settings are as before afterwards, whatever they are; they are not used.
    """
    return element("figure", inline(name, told, render(name, paint, width, height)), element("figcaption", told))


def render(name: str, paint: Callable[[Figure], None], width: float, height: float) -> str:
    """The SVG file as matplotlib writes it."""
    from matplotlib import style
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    content = io.BytesIO()
    with style.context(["default", {**_STYLE, "svg.hashsalt": name}]):
        figure = Figure(figsize=(width, height))
        FigureCanvasSVG(figure)
        paint(figure)
        figure.savefig(content, format="svg", metadata={"Date": None})
    return content.getvalue().decode()


def inline(name: str, told: str, svg: str) -> Html:
    """An SVG file as an element: without its head, styles and fixed size, in the page's colours and fonts."""
    body = _UNWANTED.sub("", _HEAD.sub("", svg, count=1))
    view = _VIEW.search(body)
    width = view.group(0).split()[2] if view is not None else ""
    opening = (
        f'<svg {view.group(0) if view is not None else ""} role="img" aria-label="{safe(told)}" '
        f'style="max-width: {width}pt">'
    )
    body = _OPENING.sub(lambda _: opening, body, count=1)
    body = _IDS.sub(f"{name}-", body.replace("xlink:href=", "href="))
    body = _FONT.sub(r"font: \1px var(--font)", body)
    return Html(palette.as_variables(body).strip())


def label(text: str, longest: int) -> str:
    """A name as it may stand in a drawing: short, and of characters that matplotlib's own font has."""
    return "".join(char if " " <= char <= "~" or char in "…×±–" else "?" for char in clean(text, longest))


def grid_only(axes: Axes, which: str) -> None:
    """Grid lines of one axis (``x`` or ``y``) only."""
    axes.grid(False)
    axes.grid(True, axis="x" if which == "x" else "y")
