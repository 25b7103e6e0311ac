# SPDX-License-Identifier: Apache-2.0
"""What ``edged top`` shows: one page made of one record. Whatever was received is shown as plain text."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from edged.messages import EngineHealth, Health, SourceHealth, Stats
from edged.monitor.record import Record
from edged.top_figures import Figures
from edged.top_heat import heat_lines, plain

_WIDE, _MEDIUM = 100, 70
_COLOURS = {
    "ready": "green",
    "live": "green",
    "opening": "cyan",
    "starting": "cyan",
    "ended": "dim",
    "degraded": "yellow",
    "stalled": "yellow",
    "backoff": "yellow",
    "stopping": "yellow",
    "failed": "red",
}
_URGENT = ("failed", "backoff", "stalled")
_MOST_REASONS = 5
_FEWEST_ROWS = 3
_FEWEST_COLUMNS = 8
_NUMBERS = ("rate/s", "age p50", "age p99", "published", "lost", "lost %", "in flight", "CPU", "restarts")


def page(
    record: Record, figures: Figures, *, width: int, height: int | None = None, silent_s: float = 0.0
) -> RenderableType:
    """One page.

    Args:
        record: what is known.
        figures: rates of processes and stages.
        width: columns there are; few of them show fewer figures.
        height: lines there are; then the sources are cut to fit, those in trouble first. None shows all.
        silent_s: for how long the daemon has said nothing; 0 where it talks.
    """
    health = record.health
    parts: list[RenderableType] = [_head(health, record.stats)]
    if silent_s:
        parts.append(Text(f"no word from the daemon for {silent_s:.0f} s: what follows is old", style="bold red"))
    parts += [Text(plain(reason), style="yellow") for reason in health.reasons[:_MOST_REASONS]]
    if len(health.reasons) > _MOST_REASONS:
        parts.append(Text(f"… and {len(health.reasons) - _MOST_REASONS} more reasons", style="yellow"))
    if health.engine is not None:
        parts.append(_engine(health.engine))
    below: list[RenderableType] = [*_windows(record.stats)]
    if record.thermal is not None:
        below += heat_lines(record.thermal)
    work = _work(record.stats, figures, width)
    used = len(parts) + len(below) + 4 + (work.row_count + 2 if work is not None else 0)
    rows = len(health.sources) if height is None else max(_FEWEST_ROWS, height - used)
    parts += [Text(), *_sources(health.sources, width, rows)]
    if below:
        parts += [Text(), *below]
    if work is not None:
        parts += [Text(), work]
    return Group(*parts)


def duration(seconds: float) -> str:
    """A time in its two largest units."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    if days:
        return f"{days} d {hours} h"
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _head(health: Health, stats: Stats | None) -> Text:
    head = Text(plain(health.device), style="bold")
    head.append("  ")
    head.append(health.state, style=_COLOURS.get(health.state, ""))
    if stats is not None:
        head.append(f"  up {duration(stats.uptime_s)}", style="not bold")
    clients = "subscriber" if health.subscribers == 1 else "subscribers"
    head.append(f"  {health.subscribers} {clients}", style="not bold")
    return head


def _engine(engine: EngineHealth) -> Text:
    text = f"engine  {engine.id} on {engine.backend}, {engine.precision}, {engine.io}  {engine.engine}"
    return Text(plain(text), no_wrap=True, overflow="ellipsis")


def _sources(sources: dict[str, SourceHealth], width: int, rows: int) -> list[RenderableType]:
    narrow = width < _MEDIUM
    headings = ["source", "state", "rate/s", "age p99"]
    if not narrow:
        headings = ["source", "state", "rate/s", "age p50", "age p99", "published", "lost %"]
    if width >= _WIDE:
        headings += ["lost", "in flight", "decode"]
    # Those in trouble first: they must not be what is cut off.
    ordered = sorted(sources.items(), key=lambda item: item[1].state not in _URGENT)
    lines = []
    for name, source in ordered[:rows]:
        cells = _cells(name, source)
        why = _most_lost(source) if narrow else (source.reason or _most_lost(source))
        lines.append([*(cells[heading] for heading in headings), Text(plain(why))])
    table = _table([*headings, "losses" if narrow else "why"], lines, width)
    left_out = len(ordered) - rows
    return [table, Text(f"… and {left_out} more sources", style="dim")] if left_out > 0 else [table]


def _cells(name: str, source: SourceHealth) -> dict[str, Text]:
    age = source.age_ms
    lost = sum(_losses(source).values())
    texts = {
        "source": plain(name),
        "rate/s": f"{source.rate_hz:.1f}",
        "age p50": f"{age.p50:.1f} ms" if age else "-",
        "age p99": f"{age.p99:.1f} ms" if age else "-",
        "published": f"{source.published:,}",
        "lost": f"{lost:,}",
        "lost %": f"{lost / source.captured:.1%}" if source.captured else "-",
        "in flight": str(source.in_flight),
        "decode": plain(source.decode),
    }
    cells = {heading: Text(text) for heading, text in texts.items()}
    return {**cells, "state": Text(source.state, style=_COLOURS.get(source.state, ""))}


def _losses(source: SourceHealth) -> dict[str, int]:
    return {reason: getattr(source.dropped, reason) for reason in source.dropped.__struct_fields__}


def _most_lost(source: SourceHealth) -> str:
    """What cost the most frames, in a few words; empty where nothing was lost."""
    losses = sorted(_losses(source).items(), key=lambda item: -item[1])
    return ", ".join(f"{number:,} {reason}" for reason, number in losses[:2] if number)


def _windows(stats: Stats | None) -> list[RenderableType]:
    if stats is None:
        return []
    parts = []
    for name, window in stats.windows.items():
        if window.rate_hz is not UNSET:
            ages = "" if window.latency_ms is UNSET else f" p99 {window.latency_ms.p99:.0f} ms"
            energy = "" if window.energy_per_frame_j is UNSET else f" {window.energy_per_frame_j * 1000:.0f} mJ a frame"
            parts.append(f"{name} {window.rate_hz:.1f}/s{ages}{energy}")
    lines: list[RenderableType] = [Text(plain("rates   " + "  ".join(parts)))] if parts else []
    if stats.sustained is not UNSET:
        found = stats.sustained
        share = "" if found.ratio is UNSET else f": {found.ratio:.0%}"
        text = f"sustained  now {found.now_hz:.1f}/s of the peak's {found.peak_hz:.1f}/s{share}"
        low = found.ratio is not UNSET and found.ratio < 0.95
        lines.append(Text(text, style="yellow" if low else ""))
    return lines


def _work(stats: Stats | None, figures: Figures, width: int) -> Table | None:
    if stats is None or not stats.processes:
        return None
    wide = width >= _MEDIUM
    lines = []
    for name, process in stats.processes.items():
        cpu = figures.cpu(name)
        restarts = Text(str(process.restarts), style="yellow" if process.restarts else "")
        cells = [Text(plain(name)), Text(f"{cpu:.1%}" if cpu is not None else "-"), restarts]
        if wide:
            stages = [_stage(figures, name, stage) for stage in process.stages]
            cells.append(Text(plain("  ".join(text for text in stages if text))))
        lines.append(cells)
    return _table(["process", "CPU", "restarts", *(["stages: runs/s × ms each"] if wide else [])], lines, width)


def _stage(figures: Figures, process: str, stage: str) -> str:
    rate = figures.stage(process, stage)
    if rate is None or rate.ms is None:
        return ""
    return f"{stage} {rate.hz:.0f}×{rate.ms:.2f}"


def _table(headings: Sequence[str], lines: Sequence[Sequence[Text]], width: int) -> Table:
    """A table whose last column takes what space is left, and is cut where that is too little."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold underline")
    left = width
    for index, heading in enumerate(headings):
        needed = max(len(heading), *(line[index].cell_len for line in lines), 0)
        last = index == len(headings) - 1
        table.add_column(
            heading,
            justify="right" if heading in _NUMBERS else "left",
            no_wrap=True,
            overflow="ellipsis",
            width=min(needed, max(_FEWEST_COLUMNS, left)) if last else needed,
        )
        left -= needed + 2
    for line in lines:
        table.add_row(*line)
    return table
