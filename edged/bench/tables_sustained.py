# SPDX-License-Identifier: Apache-2.0
"""What people see of a sustained load: minute 1 beside the last one and the steady state."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich import box
from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edged.bench.report_sustained import Stretch, SustainedRun

_ROWS: tuple[tuple[str, Callable[[Stretch], float | None], str], ...] = (
    ("frames/s", lambda it: it.frames_per_s, ".1f"),
    ("latency mean, ms", lambda it: it.mean_ms, ".2f"),
    ("latency deviation, ms", lambda it: it.deviation_ms, ".2f"),
    ("latency p50, ms", lambda it: it.p50_ms, ".2f"),
    ("latency p95, ms", lambda it: it.p95_ms, ".2f"),
    ("latency p99, ms", lambda it: it.p99_ms, ".2f"),
    ("temperature mean, °C", lambda it: it.temperature_c, ".1f"),
    ("temperature highest, °C", lambda it: it.hottest_c, ".1f"),
    ("GPU clock, MHz", lambda it: it.gpu_clock_mhz, ".0f"),
    ("CPU clock, MHz", lambda it: it.cpu_clock_mhz, ".0f"),
    ("power, W", lambda it: it.power_w, ".1f"),
    ("energy a frame, J", lambda it: it.energy_per_frame_j, ".4f"),
    ("held back, s", lambda it: sum(it.held_back_s.values()), ".0f"),
    ("seconds seen", lambda it: it.seconds, ".0f"),
)


def sustained_parts(run: SustainedRun) -> Iterator[RenderableType]:
    """Table, ratio, causes and events."""
    yield _told(f"\nfull load for {run.seconds:.0f} s, from {'; '.join(run.sources)}")
    columns = [it for it in (run.first, run.last, run.steady) if it is not None]
    if not columns:
        yield _told("less than half a minute on record: nothing to compare")
        return
    if run.first is not None and run.last is not None and run.first.name == run.last.name:
        columns.remove(run.last)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("")
    for column in columns:
        table.add_column(column.name, justify="right")
    for name, value, form in _ROWS:
        values = [value(column) for column in columns]
        if any(each is not None for each in values):
            table.add_row(name, *("unknown" if each is None else format(each, form) for each in values))
    yield Padding(table, (0, 0, 0, 2))
    yield from _closing(run)


def _closing(run: SustainedRun) -> Iterator[RenderableType]:
    if run.ratio is not None and run.first is not None and run.last is not None:
        yield _told(f"\n{run.last.name} gives {run.ratio:.1%} of {run.first.name}")
    if run.steady is None:
        yield _told("no steady state: throughput did not stay within 2 % for three minutes")
    held: dict[str, float] = {}
    for minute in run.minutes:
        for cause, seconds in minute.held_back_s.items():
            held[cause] = held.get(cause, 0.0) + seconds
    for cause, seconds in sorted(held.items(), key=lambda each: -each[1]):
        yield _told(f"held back: {cause} for {seconds:.0f} s")
    for event in run.events:
        yield _told(event)
    yield _told(f"every minute: {run.ledger}")


def _told(text: str) -> Padding:
    return Padding(Text(text), (0, 0, 0, 2))
