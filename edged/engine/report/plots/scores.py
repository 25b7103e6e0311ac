# SPDX-License-Identifier: Apache-2.0
"""Scores of FP32 and of the chosen engine, one over the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edged.engine.report import palette
from edged.engine.report.data import ReportData
from edged.engine.report.markup import Html
from edged.engine.report.plots.canvas import draw, grid_only

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_STEEP = 50
"""Where the fullest bin holds so many times the mean, the counts stand on a logarithmic axis."""


def score_histograms(data: ReportData) -> Html:
    """Two outlines; nothing without scores."""
    scores = data.scores
    if scores is None or not scores.reference or len(scores.reference) != len(scores.value):
        return Html("")
    bins, precision = len(scores.reference), "int8" if data.chosen is None else data.chosen.precision
    counts = scores.reference + scores.value
    steep = max(counts) > _STEEP * sum(counts) / len(counts) / 2

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        edges = [place / bins for place in range(bins + 1)]
        base = 0.5 if steep else 0
        axes.stairs(
            [max(it, base) for it in scores.reference],
            edges,
            baseline=base,
            fill=True,
            color=palette.FAINT,
            alpha=0.35,
            label="FP32",
        )
        axes.stairs(
            [max(it, base) for it in scores.value],
            edges,
            baseline=base,
            color=palette.of(precision),
            linewidth=2,
            label=f"{precision.upper()}",
        )
        if steep:
            axes.set_yscale("log")
        axes.set_ylim(bottom=base)
        axes.set_xlim(0, 1)
        axes.set_xlabel("score")
        axes.set_ylabel("findings" + (" (log scale)" if steep else ""))
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
        grid_only(axes, "y")

    return draw("scores", "How many findings have which score: FP32 and the judged engine.", paint, height=2.8)
