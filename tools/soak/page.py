# SPDX-License-Identifier: Apache-2.0
"""The report of a run as one self-contained page: what held, and how everything went over time."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Callable, Sequence
from typing import Any

from tools.soak.readings import Holding, Trend

_STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}"
    "table{border-collapse:collapse}td,th{border:1px solid #ccc;padding:.25rem .6rem;text-align:right}"
    "td:first-child,th:first-child{text-align:left}.bad{color:#b00020;font-weight:600}img{width:100%}"
)
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(
    title: str, facts: dict[str, Any], trends: Sequence[Trend], series: Sequence[Holding], wrong: list[str]
) -> str:
    """The page.

    Args:
        title: of the run.
        facts: figures by name.
        trends: what became of the processes.
        series: all readings.
        wrong: what was not as it must be.
    """
    verdict = "<p>Everything held.</p>" if not wrong else f'<p class="bad">{len(wrong)} thing(s) did not hold:</p>'
    parts = [
        f"<h1>{html.escape(title)}</h1>{verdict}",
        _listed(wrong),
        _table(("figure", "value"), [(name, _text(value)) for name, value in facts.items()]),
        "<h2>Processes after the warm-up</h2>",
        _table(
            ("process", "memory, MB", "slope, MB/h", "descriptors", "threads", "shared, MB"),
            [
                (
                    it.name,
                    f"{it.resident_mb:.1f}",
                    f"{it.slope_mb_per_h:+.2f}",
                    *(_range(pair) for pair in (it.descriptors, it.threads, it.shared_mb)),
                )
                for it in trends
            ],
        ),
        _picture(series, "resident memory without rings, MB", lambda it: it.resident_mb),
        _picture(series, "descriptors", lambda it: it.descriptors),
        _picture(series, "threads", lambda it: it.threads),
        _picture(series, "shared memory, MB", lambda it: it.shared_mb),
    ]
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'


def _text(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _range(pair: tuple[float, float]) -> str:
    low, high = pair
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _listed(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{html.escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    top = "".join(f"<th>{html.escape(head)}</th>" for head in heads)
    body = "".join("<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><tr>{top}</tr>{body}</table>"


def _picture(series: Sequence[Holding], label: str, value: Callable[[Holding], float]) -> str:
    """One line a process over the minutes of the run."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for name in sorted({it.name for it in series}):
        points = [it for it in series if it.name == name]
        axes.plot([it.at_s / 60 for it in points], [value(it) for it in points], label=name, linewidth=1)
    axes.set_xlabel("minutes")
    axes.set_ylabel(label)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="x-small", ncols=4)
    content = io.BytesIO()
    figure.savefig(content, format="svg", metadata={"Date": None})
    data = base64.b64encode(content.getvalue()).decode()
    return f'<h2>{html.escape(label)}</h2><img alt="{html.escape(label)}" src="data:image/svg+xml;base64,{data}">'
