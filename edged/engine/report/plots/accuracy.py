# SPDX-License-Identifier: Apache-2.0
"""Accuracy against speed, and accuracy against the share of INT8 work: what was given for what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edged.engine.report import palette
from edged.engine.report.candidate import Accuracy, Candidate, Timing
from edged.engine.report.data import CurvePoint, ReportData
from edged.engine.report.markup import Html
from edged.engine.report.plots.canvas import draw, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = "osD^vPX"
_RING = 170


def accuracy_speed(data: ReportData) -> Html:
    """Every candidate that was both timed and evaluated; nothing without two of them."""
    batch = data.shown_batch
    both = [
        (one, timing, one.accuracy)
        for one in data.candidates
        if (timing := one.timing(batch)) is not None and one.accuracy is not None
    ]
    if len(both) < 2:
        return Html("")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for place, (one, timing, accuracy) in enumerate(both):
            _point(axes, one, timing, accuracy, _MARKERS[place % len(_MARKERS)])
        _points_axis(axes, [-it.loss for _, _, it in both], data)
        right = max(timing.frames_per_s.high for _, timing, _ in both)
        axes.set_xlim(0, 1.06 * right or 1)
        axes.set_xlabel(f"frames/s at batch {batch}")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))

    told = (
        f"Accuracy against speed at batch {batch}; better is up and to the right. Bars: standard error of the loss, "
        "and slowest to fastest round. Ringed: chosen."
    )
    return draw("speed", told, paint)


def _point(axes: Axes, one: Candidate, timing: Timing, accuracy: Accuracy, marker: str) -> None:
    rate, colour = timing.frames_per_s, palette.of(one.precision)
    at = (rate.median, -accuracy.loss)
    axes.errorbar(
        *at,
        xerr=[[max(rate.median - rate.low, 0)], [max(rate.high - rate.median, 0)]],
        yerr=accuracy.error,
        fmt=marker,
        color=colour,
        markersize=7,
        capsize=3,
        label=label(one.name, 34),
        zorder=3,
    )
    if one.chosen:
        axes.scatter(*at, s=_RING, facecolors="none", edgecolors=palette.INK, linewidths=1.5, zorder=4)


def repair_curve(data: ReportData) -> Html:
    """Every plan that the search evaluated; nothing without one."""
    points = data.curve
    if not points:
        return Html("")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        shares, changes = [100 * it.share for it in points], [-it.loss for it in points]
        axes.errorbar(
            shares,
            changes,
            yerr=_errors(points),
            fmt="o",
            color=palette.of("int8"),
            markersize=5,
            capsize=3,
            label="INT8 plan",
            zorder=3,
        )
        chosen = [it for it in points if it.chosen]
        axes.scatter(
            [100 * it.share for it in chosen],
            [-it.loss for it in chosen],
            s=_RING,
            facecolors="none",
            edgecolors=palette.INK,
            linewidths=1.5,
            zorder=4,
            label="taken" if chosen else None,
        )
        _points_axis(axes, changes, data)
        axes.set_xlim(-2, 102)
        axes.set_xlabel("multiply-adds in INT8, %")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))

    return draw("curve", "Accuracy against the share of INT8 work: every plan that the search evaluated.", paint)


def _errors(points: Sequence[CurvePoint]) -> list[float] | None:
    return [it.error or 0.0 for it in points] if any(it.error is not None for it in points) else None


def _points_axis(axes: Axes, changes: Sequence[float], data: ReportData) -> None:
    """Points against FP32 upwards, with the bound; far below it the axis is logarithmic, so that one ruined candidate
    does not press all others together."""
    from matplotlib.ticker import FuncFormatter, SymmetricalLogLocator

    lowest, highest = min(*changes, -data.bound), max(*changes, 0.0)
    near = 2 * max(data.bound, 0.1)
    if lowest < -3 * near:
        axes.set_yscale("symlog", linthresh=near, linscale=2)
        axes.yaxis.set_major_locator(SymmetricalLogLocator(base=10, linthresh=near, subs=[1.0, 2.0, 5.0]))
        axes.set_ylim(1.6 * lowest, highest + 0.4 * near)
    else:
        room = 0.12 * max(highest - lowest, 0.1)
        axes.set_ylim(lowest - 2 * room, highest + 2 * room)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}".replace("-", "−")))
    axes.axhline(0, color=palette.FAINT, linewidth=1)
    axes.axhline(-data.bound, color=palette.INK, linestyle="--", linewidth=1.2, label=f"bound: −{data.bound:g}")
    scale = f"\n(logarithmic below −{near:g})" if axes.get_yscale() != "linear" else ""
    axes.set_ylabel(f"{label(data.metric or 'accuracy', 24)} against FP32, points{scale}")
