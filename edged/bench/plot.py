# SPDX-License-Identifier: Apache-2.0
"""The batch sweep as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edged.bench.picture import blank, write
from edged.bench.report import Contestant, LevelName, Report

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Told apart by the colour-blind, too (Okabe and Ito)."""
_STYLES: dict[LevelName, str] = {"engine": "--", "pipeline": "-"}


def write_plot(report: Report, path: Path) -> None:
    """Frames a second and median latency over batch sizes, with the point from which the device is saturated.

    Raises:
        StateDirError: the file cannot be written.
    """
    figure = blank(8, 7)
    rates, times = figure.subplots(2, 1, sharex=True)
    sizes: set[int] = set()
    for contestant, colour in zip(report.contestants, _cycled(len(report.contestants)), strict=True):
        sizes |= _draw(contestant, colour, rates, times)
    rates.set_ylabel("frames/s")
    times.set_ylabel("latency of a batch, ms (p50, p99 above)")
    times.set_xlabel("batch")
    for axes in (rates, times):
        axes.set_xscale("log", base=2)
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
        axes.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)])
        axes.minorticks_off()
    if sizes:
        rates.legend()
    figure.suptitle(_title(report.contestants))
    write(figure, path)


def _draw(contestant: Contestant, colour: str, rates: Any, times: Any) -> set[int]:
    """One contestant's lines; returns the batch sizes."""
    drawn: set[int] = set()
    for level, style in _STYLES.items():
        found = [it for batch in contestant.batches(level) if (it := contestant.found(level, batch)) is not None]
        if not found:
            continue
        sizes = [it.batch for it in found]
        drawn |= set(sizes)
        spreads = [it.frames_per_s for it in found]
        label = f"{contestant.label}: {level}"
        rates.plot(sizes, [it.median for it in spreads], style, color=colour, marker="o", label=label)
        rates.fill_between(
            sizes, [it.low for it in spreads], [it.high for it in spreads], color=colour, alpha=0.15, linewidth=0
        )
        times.plot(sizes, [it.latency_ms.p50 for it in found], style, color=colour, marker="o")
        times.plot(sizes, [it.latency_ms.p99 for it in found], ":", color=colour)
    full = contestant.saturation
    if full is not None:
        rates.axvline(full.batch, color=colour, linestyle="-.", linewidth=1)
        label = f"{contestant.label}: saturated from batch {full.batch}"
        ring = {"marker": "o", "markersize": 14, "fillstyle": "none", "linestyle": "none"}
        rates.plot([full.batch], [full.frames_per_s], color=colour, label=label, **ring)
    return drawn


def _cycled(count: int) -> list[str]:
    return [_COLOURS[number % len(_COLOURS)] for number in range(count)]


def _title(contestants: Sequence[Contestant]) -> str:
    if not contestants:
        return "edged bench"
    first = contestants[0]
    return f"{first.model_id}, {first.frame[1]}x{first.frame[0]}, {first.device}"
