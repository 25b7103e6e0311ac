# SPDX-License-Identifier: Apache-2.0
"""The end of a build on a terminal: what was chosen and why, in at most `LINES` lines."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edged.engine.report.candidate import Candidate, Precision
from edged.engine.report.chart import chart
from edged.engine.report.data import ReportData
from edged.engine.report.sentence import out_of_bound, sentence
from edged.engine.report.words import clean, points, rate, with_spread
from edged.engine.summary import size

LINES = 24
_WIDEST = 100
_ROWS = 6
_REFUSED = 2
_INDENT = 2
_COLOURS: dict[Precision, str] = {"int8": "cyan", "fp16": "yellow", "tf32": "magenta", "fp32": "green"}


def show_verdict(data: ReportData, console: Console, report: Path | None = None) -> None:
    """Print it.

    Args:
        data: what was found.
        console: where to; `_WIDEST` columns of it are used at the most.
        report: where the page lies.
    """
    width = min(console.width, _WIDEST)
    head: list[RenderableType] = [
        _line(f"{data.model_id} on {data.device.name}, {data.device.runtime}", width, "dim"),
        *_paragraph(f"{sentence(data)}.", width, 2, "bold" if data.chosen is not None else "bold red"),
        Text(""),
        Padding(_candidates(data, width - _INDENT), (0, 0, 0, _INDENT)),
    ]
    tail = [*_refusals(data, width), *_would_hold(data, width)]
    where = "" if report is None else f"report: {clean(str(report), 4096)}"
    used = _height(console, width, [*head, *tail]) + -(-len(where) // console.width)
    plot = chart(data, width - _INDENT, LINES - used - 1)
    middle: list[RenderableType] = [Padding(Text(line, no_wrap=True), (0, 0, 0, _INDENT)) for line in plot]
    console.print(Group(*head, *([Text("")] if middle else []), *middle, *tail), width=width)
    if where:
        # Neither wrapped nor shortened: it is there to be copied.
        console.print(Text(where), soft_wrap=True)


def _height(console: Console, width: int, parts: Sequence[RenderableType]) -> int:
    return len(console.render_lines(Group(*parts), console.options.update(width=width), pad=False))


def _line(text: str, width: int, style: str = "") -> Text:
    return Text(clean(text, width), style=style, no_wrap=True, overflow="ellipsis")


def _paragraph(text: str, width: int, lines: int, style: str = "") -> list[Text]:
    """A text in at most so many lines."""
    found = textwrap.wrap(clean(text, 400), width, max_lines=lines, placeholder=" …")
    return [Text(line, style=style) for line in found]


def _candidates(data: ReportData, width: int) -> Table:
    """One line each, the chosen one always among them."""
    memory = any(one.memory is not None for one in data.candidates)
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    table.add_column("", width=1)
    table.add_column("candidate", no_wrap=True, overflow="ellipsis", max_width=max(width - 58, 12))
    heads = [f"ms, batch {data.shown_batch}", "frames/s", clean(data.metric, 9) or "accuracy", "points lost"]
    for name in (*heads, *(["GPU memory"] if memory else [])):
        table.add_column(name, justify="right", no_wrap=True)
    shown = _kept(data.candidates)
    for one in shown:
        style = "bold" if one.chosen else "dim" if _is_out(data, one) else ""
        cells = [*_speed(data, one), *_accuracy(one), *([_memory(one)] if memory else [])]
        named = Text(clean(one.name, 60), style=_COLOURS[one.precision])
        table.add_row("▸" if one.chosen else "", named, *cells, style=style)
    more = len(data.candidates) - len(shown)
    if more:
        table.add_row("", f"… {more} more")
    return table


def _kept(candidates: Sequence[Candidate]) -> list[Candidate]:
    if len(candidates) <= _ROWS:
        return list(candidates)
    others = [one for one in candidates if not one.chosen][: _ROWS - 1 - any(one.chosen for one in candidates)]
    return [one for one in candidates if one.chosen or one in others]


def _is_out(data: ReportData, one: Candidate) -> bool:
    return bool(one.refused_because) or out_of_bound(data, one)


def _speed(data: ReportData, one: Candidate) -> tuple[str, str]:
    found = one.timing(data.shown_batch)
    if found is None:
        return "–", "–"
    return with_spread(found.latency_ms), rate(found.frames_per_s.median)


def _accuracy(one: Candidate) -> tuple[str, str]:
    found = one.accuracy
    return ("–", "–") if found is None else (points(found.value), points(found.loss, found.error))


def _memory(one: Candidate) -> str:
    found = one.memory
    known = [] if found is None else [it for it in (found.weights, found.activations, found.io) if it is not None]
    return size(sum(known)) if known else "–"


def _refusals(data: ReportData, width: int) -> list[Text]:
    refused = [one for one in data.candidates if one.refused_because]
    lines = [_line(f"refused: {one.name}: {one.refused_because}", width, "yellow") for one in refused[:_REFUSED]]
    more = len(refused) - _REFUSED
    return [*lines, *([_line(f"refused: {more} more, see the report", width, "yellow")] if more > 0 else [])]


def _would_hold(data: ReportData, width: int) -> list[Text]:
    """What to do instead; else why, if there is more to say than the sentence does."""
    if data.would_hold:
        return _paragraph(f"would hold: {data.would_hold}", width, 2, "green")
    return _paragraph("why: " + "; ".join(data.why), width, 2) if data.why else []
