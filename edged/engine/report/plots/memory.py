# SPDX-License-Identifier: Apache-2.0
"""GPU memory of each candidate, by kind."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edged.engine.report import palette
from edged.engine.report.data import ReportData
from edged.engine.report.markup import Html
from edged.engine.report.plots.canvas import draw, grid_only, label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_KINDS = {"weights": "weights", "activations": "activations", "io": "input and output"}
_MIB = 1 << 20


def memory_bars(data: ReportData) -> Html:
    """Stacked bars; nothing where no memory is known, as without a GPU."""
    known = [(one, one.memory) for one in data.candidates if one.memory is not None]
    if not any(getattr(memory, kind) for _, memory in known for kind in _KINDS):
        return Html("")

    def paint(figure: Figure) -> None:
        axes = figure.subplots()
        left = [0.0] * len(known)
        for kind, said in _KINDS.items():
            sizes = [(getattr(memory, kind) or 0) / _MIB for _, memory in known]
            axes.barh(range(len(known)), sizes, left=left, height=0.6, color=palette.TONES[kind].light, label=said)
            left = [start + it for start, it in zip(left, sizes, strict=True)]
        axes.set_yticks(range(len(known)), [label(one.name, 34) for one, _ in known])
        axes.set_ylim(len(known) - 0.5, -0.5)
        axes.set_xlim(0, 1.04 * max(left))
        axes.set_xlabel("GPU memory, MiB")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.02))
        grid_only(axes, "x")

    return draw("memory", "GPU memory of each candidate by kind.", paint, height=1.2 + 0.34 * max(len(known), 2))
