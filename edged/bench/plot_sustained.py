# SPDX-License-Identifier: Apache-2.0
"""Throughput, temperature, clocks and power on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from math import nan
from pathlib import Path
from typing import Any

from edged.bench.picture import blank, write
from edged.bench.report import Contestant
from edged.bench.report_sustained import Course, SustainedRun

_BLUE, _RED, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"


def write_sustained_plot(contestant: Contestant, run: SustainedRun, path: Path) -> None:
    """Draw a run; stretches in which the hardware held itself back are shaded.

    Raises:
        StateDirError: the file cannot be written.
    """
    course = run.course
    clocks = ("GPU clock, MHz", course.gpu_clock_mhz)
    if all(value is None for value in course.gpu_clock_mhz):
        clocks = ("CPU clock, MHz", course.cpu_clock_mhz)
    rows: Sequence[tuple[str, Sequence[float | None], str]] = (
        ("frames/s", course.frames_per_s, _BLUE),
        ("temperature, °C", course.temperature_c, _RED),
        (*clocks, _GREEN),
        ("power, W", course.power_w, _PURPLE),
    )
    figure = blank(9, 9)
    every = figure.subplots(len(rows), 1, sharex=True)
    minutes = [second / 60 for second in course.at_s]
    for axes, (name, values, colour) in zip(every, rows, strict=True):
        _draw(axes, minutes, name, values, colour)
        _shade(axes, minutes, course)
    every[0].set_ylim(bottom=0)
    every[-1].set_xlabel("minutes since the load began")
    figure.suptitle(f"{contestant.model_id}, {contestant.precision} on {contestant.backend}, sustained")
    write(figure, path)


def _draw(axes: Any, minutes: Sequence[float], name: str, values: Sequence[float | None], colour: str) -> None:
    axes.set_ylabel(name)
    axes.grid(alpha=0.3)
    if any(value is not None for value in values):
        # What is unknown is a gap.
        axes.plot(minutes, [nan if value is None else value for value in values], color=colour, linewidth=1)
    else:
        axes.text(0.5, 0.5, "unknown", transform=axes.transAxes, ha="center", va="center", alpha=0.5)
        axes.set_yticks([])


def _shade(axes: Any, minutes: Sequence[float], course: Course) -> None:
    begin: float | None = None
    for minute, held in zip((*minutes, None), (*course.held_back, False), strict=True):
        if held and begin is None:
            begin = minute
        elif not held and begin is not None:
            axes.axvspan(begin, minutes[-1] if minute is None else minute, color=_RED, alpha=0.12, linewidth=0)
            begin = None
