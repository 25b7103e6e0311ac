# SPDX-License-Identifier: Apache-2.0
"""Which layers cause the error, and what they are worth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edged.engine.report import palette
from edged.engine.report.candidate import Precision
from edged.engine.report.data import Layer, ReportData
from edged.engine.report.markup import Html
from edged.engine.report.plots.canvas import draw, grid_only, label

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SHOWN = 40
_ORDER: tuple[Precision, ...] = ("int8", "fp16", "tf32", "fp32")


def by_error(layers: Sequence[Layer]) -> list[tuple[Layer, float]]:
    """Layers whose error was measured, with their part of the sum of all errors, 0 to 1; the worst first."""
    found = [(one, one.error) for one in layers if one.error is not None and math.isfinite(one.error)]
    total = sum(error for _, error in found) or 1.0
    return sorted(((one, error / total) for one, error in found), key=lambda pair: (-pair[1], pair[0].name))


def layer_errors(data: ReportData) -> Html:
    """Sorted bars; nothing where no error was measured."""
    found = by_error(data.layers)
    if not found:
        return Html("")
    shown = found[:SHOWN]

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        for precision in _ORDER:
            _bars(axes, shown, precision)
        axes.plot(
            [100 * one.share for one, _ in shown],
            range(len(shown)),
            "|",
            color=palette.INK,
            markersize=7,
            markeredgewidth=1.5,
            label="part of the multiply-adds",
        )
        axes.set_yticks(range(len(shown)), _names([one.name for one, _ in shown]), fontsize=8)
        axes.set_ylim(len(shown) - 0.4, -0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel("part of the error, and of the multiply-adds, of all layers, %")
        axes.legend(loc="lower right")
        grid_only(axes, "x")

    part = f"The {SHOWN} worst of {len(found)} layers" if len(found) > SHOWN else "Every layer"
    told = (
        f"{part} by the error that each causes at the output when it alone runs in INT8, as a part of the sum of all; "
        "the mark is its part of the multiply-adds."
    )
    return draw("layers", told, paint, height=1.1 + 0.17 * max(len(shown), 6))


def _bars(axes: Axes, shown: Sequence[tuple[Layer, float]], precision: Precision) -> None:
    """Those of one precision, each at its place."""
    mine = [(place, part) for place, (one, part) in enumerate(shown) if one.precision == precision]
    if mine:
        axes.barh(
            [place for place, _ in mine],
            [100 * part for _, part in mine],
            height=0.72,
            color=palette.of(precision),
            label=f"{precision.upper()} in the plan",
        )


def _names(names: Sequence[str]) -> list[str]:
    """Names as they stand beside the bars, without the path that all of them begin with."""
    common = 0
    for level in zip(*(name.split("/")[:-1] for name in names), strict=False):
        if len(set(level)) > 1:
            break
        common += len(level[0]) + 1
    return [label(f"…{name[common - 1 :]}" if common > 2 and len(names) > 1 else name, 44) for name in names]
