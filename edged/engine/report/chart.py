# SPDX-License-Identifier: Apache-2.0
"""The curve of accuracy against INT8 work in a few lines of characters."""

from __future__ import annotations

from collections.abc import Sequence

from edged.engine.report.data import CurvePoint, ReportData
from edged.engine.report.words import points

_LEAST, _MOST = 4, 8
"""Lines: with fewer there is nothing to see, and more tell no more."""
_MARGIN = 8
_FAR = 4
"""Times the bound: what loses more stands on the lowest line, as beyond it."""


def chart(data: ReportData, width: int, height: int) -> list[str]:
    """Points lost, downwards, over the share of the multiply-adds in INT8.

    Args:
        data: with the curve.
        width: columns that there are.
        height: lines that there are, the axis and its words included.

    Returns:
        Lines; none where there is no curve or no room for it.
    """
    if not data.curve or height < _LEAST:
        return []
    rows, columns = min(height, _MOST) - 2, max(min(width - _MARGIN - 2, 72), 12)
    worst = max(point.loss for point in data.curve)
    bottom = min(max(worst, 1.25 * data.bound, 0.1), _FAR * max(data.bound, 0.1))
    top = min(0.0, *(point.loss for point in data.curve))
    grid = [[" "] * columns for _ in range(rows)]
    at_bound = min(_row(data.bound, top, bottom, rows), rows - 2)
    grid[at_bound] = ["╌"] * columns
    # What was taken is drawn last, so that nothing covers it.
    for point in sorted(data.curve, key=lambda it: it.chosen):
        row, column = _row(point.loss, top, bottom, rows), round(min(max(point.share, 0), 1) * (columns - 1))
        # Rounding moves nothing across the bound.
        row = min(row, at_bound) if point.loss <= data.bound else max(row, at_bound + 1)
        grid[row][column] = _mark(point, bottom)
    names = {0: points(top), rows - 1: points(bottom), at_bound: f"≤ {data.bound:g}"}
    lines = [f"{names.get(row, ''):>{_MARGIN - 2}} │{''.join(cells)}" for row, cells in enumerate(grid)]
    axis = f"{'':>{_MARGIN - 2}} └{'─' * columns}"
    return [*(line.rstrip() for line in lines), axis, _legend(data.curve, columns, bottom)]


def _row(loss: float, top: float, bottom: float, rows: int) -> int:
    share = (min(loss, bottom) - top) / (bottom - top)
    return round(min(max(share, 0), 1) * (rows - 1))


def _mark(point: CurvePoint, bottom: float) -> str:
    return "●" if point.chosen else "▾" if point.loss > bottom else "○"


def _legend(curve: Sequence[CurvePoint], columns: int, bottom: float) -> str:
    said = "points lost over multiply-adds in INT8"
    said += "; ● taken" if any(it.chosen for it in curve) else ""
    said += "; ▾ more" if any(it.loss > bottom and not it.chosen for it in curve) else ""
    left, right = "0 %", "100 %"
    room = columns - len(left) - len(right)
    return f"{'':>{_MARGIN}}{left}{said.center(room) if room > len(said) else ' ' * max(room, 1)}{right}"
