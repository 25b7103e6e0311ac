# SPDX-License-Identifier: Apache-2.0
"""HTML in small pieces. Whatever is not marked as HTML is escaped, so that no name can become markup."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from edged.engine.report.words import clean

_VOID = frozenset({"img", "meta"})


class Html(str):
    """Text that is markup already."""

    __slots__ = ()


def safe(text: str) -> Html:
    """A text as markup: itself if it is, else cleaned and escaped."""
    return text if isinstance(text, Html) else Html(html.escape(clean(text, 600), quote=True))


def element(name: str, /, *children: str, **attributes: str) -> Html:
    """An element.

    Args:
        name: of the tag.
        children: text, which is escaped, or markup.
        attributes: values by name; ``class_`` is class, ``aria_label`` aria-label. Values are escaped.
    """
    given = "".join(f' {key.rstrip("_").replace("_", "-")}="{safe(value)}"' for key, value in attributes.items())
    if name in _VOID:
        return Html(f"<{name}{given}>")
    return Html(f"<{name}{given}>{joined(children)}</{name}>")


def joined(parts: Iterable[str]) -> Html:
    """Pieces one after the other."""
    return Html("".join(map(safe, parts)))


def section(title: str, *parts: str) -> Html:
    """A titled part of the page; nothing where it would be empty."""
    kept = [part for part in parts if part]
    return element("section", element("h2", title), *kept) if kept else Html("")


def paragraphs(texts: Iterable[str], kind: str = "") -> Html:
    """Each text by itself."""
    return joined(element("p", text, class_=kind) if kind else element("p", text) for text in texts)


def table(caption: str, columns: Sequence[str], rows: Sequence[Sequence[str]], texts: int = 1) -> Html:
    """A table; nothing without rows.

    Args:
        caption: what it shows.
        columns: their heads.
        rows: their cells.
        texts: how many columns from the left hold text; the others are aligned as figures.
    """
    if not rows:
        return Html("")
    kinds = ["text" if place < texts else "figure" for place in range(len(columns))]
    head = joined(element("th", name, scope="col", class_=kind) for name, kind in zip(columns, kinds, strict=True))
    lines = joined(
        element("tr", *(element("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True)))
        for row in rows
    )
    whole = element(
        "table", element("caption", caption), element("thead", element("tr", head)), element("tbody", lines)
    )
    return element("div", whole, class_="wide")


def folded(summary: str, *parts: str) -> Html:
    """What is there for those who open it; nothing where it would be empty."""
    kept = [part for part in parts if part]
    return element("details", element("summary", summary), *kept) if kept else Html("")
