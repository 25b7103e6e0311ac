# SPDX-License-Identifier: Apache-2.0
"""The report of an engine's layers: as a table, as lines of text, and for machines."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from edged.bench.layers.records import Ceilings, Finding, Row

TOP = 20
_WIDTH = 140
_NAME = 40
_COLUMNS = ("layer", "kind", "ms", "±", "share", "type", "MMAC", "MB", "op/B", "Gop/s", "GB/s", "bound", "INT8")
_INT8 = {"already": "is", "yes": "yes", "traffic": "traffic", "no": "no", "unknown": "?"}


@dataclass(frozen=True)
class LayerReport:
    """Layers of one engine at one batch size.

    Attributes:
        backend: ``tensorrt`` or ``onnxruntime``.
        batch: frames of a run.
        runs: that were timed with the profiler, and as many without.
        rows: in the order of the run.
        findings: what stands out, the most time first.
        ceilings: of the device.
        plain_ms: median of a whole run without the profiler.
        end_to_end_ms: of a batch where the caller measured it, else None.
    """

    backend: str
    batch: int
    runs: int
    rows: tuple[Row, ...]
    findings: tuple[Finding, ...]
    ceilings: Ceilings
    plain_ms: float
    end_to_end_ms: float | None = None

    @property
    def layers_ms(self) -> float:
        """All layers together."""
        return sum(row.layer.ms for row in self.rows)

    @property
    def inflation(self) -> float:
        """Layers together, divided by a plain run: above 1 by what timing every layer adds."""
        return self.layers_ms / self.plain_ms if self.plain_ms else 0.0

    def lines(self, top: int = TOP, width: int = _WIDTH) -> list[str]:
        """All of it as plain text.

        Args:
            top: layers shown one by one; the others are summed up.
            width: characters of a line of the table.
        """
        console = Console(file=io.StringIO(), width=width, color_system=None, legacy_windows=False)
        console.print(self.table(top))
        assert isinstance(console.file, io.StringIO)
        shown = [line.rstrip() for line in console.file.getvalue().splitlines() if line.strip()]
        return [*shown, *self.summary()]

    def table(self, top: int = TOP) -> Table:
        """The layers that take longest, and the rest in one row."""
        table = Table(title=f"layers of a batch of {self.batch}, {self.backend}, medians of {self.runs} runs", box=None)
        ordered = sorted(self.rows, key=lambda row: -row.layer.ms)
        shown = [_cells(row) for row in ordered[:top]]
        if ordered[top:]:
            shown.append(_rest(ordered[top:]))
        for place, name in enumerate(_COLUMNS):
            text = name in ("layer", "kind", "type", "bound", "INT8")
            least = max((len(cells[place]) for cells in shown), default=0)
            table.add_column(name, justify="left" if text else "right", no_wrap=True, min_width=least)
        for cells in shown:
            table.add_row(*(Text(cell) for cell in cells))
        return table

    def summary(self) -> list[str]:
        """What the whole comes to, then the findings."""
        return [self._sums(), *self._ends(), *self._limits(), *(finding.line() for finding in self.findings)]

    def as_json(self) -> dict[str, Any]:
        """For machines: everything, times in ms, rates per second, shares from 0 to 1."""
        return {
            "backend": self.backend,
            "batch": self.batch,
            "runs": self.runs,
            "layers_ms": self.layers_ms,
            "plain_ms": self.plain_ms,
            "end_to_end_ms": self.end_to_end_ms,
            "inflation": self.inflation,
            "ceilings": {
                "bytes_per_s": self.ceilings.bytes_per_s,
                "ops_per_s": dict(self.ceilings.ops_per_s),
                "how": list(self.ceilings.how),
            },
            "layers": [_row_json(row) for row in self.rows],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _sums(self) -> str:
        extra = self.inflation - 1
        text = f"layers together {self.layers_ms:.3f} ms, a run without the profiler {self.plain_ms:.3f} ms"
        if abs(extra) < 0.005:
            return f"{text}: timing each layer changes nothing"
        if extra > 0:
            return f"{text}: timing each layer adds {extra:.0%}"
        return f"{text}: {-extra:.0%} of a run lies between the layers"

    def _ends(self) -> list[str]:
        if self.end_to_end_ms is None:
            return []
        part = self.plain_ms / self.end_to_end_ms if self.end_to_end_ms else 0.0
        return [f"a batch takes {self.end_to_end_ms:.3f} ms end to end: its layers are {part:.0%} of that"]

    def _limits(self) -> list[str]:
        known = self.ceilings
        bandwidth = f"{known.bytes_per_s / 1e9:.1f} GB/s" if known.bytes_per_s else "unknown bandwidth"
        peaks = ", ".join(f"{name} {value / 1e9:.0f} Gop/s" for name, value in sorted(known.ops_per_s.items()))
        ridges = ", ".join(
            f"{name} {ridge:.1f}" for name in sorted(known.ops_per_s) if (ridge := known.ridge(name)) is not None
        )
        limits = f"ceilings: {bandwidth}, {peaks or 'unknown arithmetic'}" + (
            f"; ridge (op/B): {ridges}" if ridges else ""
        )
        bounds = {bound: sum(row.share for row in self.rows if row.bound == bound) for bound in _BOUNDS}
        parts = ", ".join(f"{bound} {share:.0%}" for bound, share in bounds.items() if share >= 0.005)
        helped = sum(row.share for row in self.rows if row.int8 == "yes")
        less = sum(row.share for row in self.rows if row.int8 == "traffic")
        int8 = f"INT8 would help {helped:.0%} of the time by faster arithmetic, {less:.0%} only by less traffic"
        return [limits, *known.how, f"time by what limits it: {parts}", int8]


_BOUNDS = ("compute", "memory", "latency", "unknown")


def _cells(row: Row) -> list[str]:
    layer = row.layer
    intensity = layer.intensity
    return [
        _short(layer.name),
        _short(layer.kind, 18),
        f"{layer.ms:.3f}",
        f"{layer.spread_ms:.3f}",
        f"{row.share:.1%}",
        layer.precision or "?",
        f"{layer.macs / 1e6:.1f}" if layer.macs else "",
        "?" if layer.nbytes is None else f"{layer.nbytes / 1e6:.2f}",
        "" if not layer.macs or intensity is None else f"{intensity:.1f}",
        f"{layer.ops_per_s / 1e9:.0f}" if layer.macs else "",
        f"{layer.bytes_per_s / 1e9:.1f}" if layer.nbytes else "",
        row.bound,
        f"{_INT8[row.int8]}: {row.why}" if row.int8 in ("no", "traffic") and layer.macs else _INT8[row.int8],
    ]


def _rest(rows: Sequence[Row]) -> list[str]:
    ms = sum(row.layer.ms for row in rows)
    macs = sum(row.layer.macs for row in rows)
    nbytes = sum(row.layer.nbytes or 0 for row in rows)
    cells = [f"{len(rows)} more", "", f"{ms:.3f}", "", f"{sum(row.share for row in rows):.1%}", ""]
    return [*cells, f"{macs / 1e6:.1f}", f"{nbytes / 1e6:.2f}", "", "", "", "", ""]


def _short(text: str, length: int = _NAME) -> str:
    """The beginning and the end: names differ at their ends."""
    if len(text) <= length:
        return text
    half = (length - 1) // 2
    return f"{text[: length - 1 - half]}…{text[-half:]}"


def _row_json(row: Row) -> dict[str, Any]:
    layer = row.layer
    found = asdict(layer)
    for name in ("reads", "writes"):
        del found[name]
    return {
        **found,
        "share": row.share,
        "intensity": layer.intensity,
        "ops_per_s": layer.ops_per_s,
        "bytes_per_s": layer.bytes_per_s,
        "bound": row.bound,
        "int8": row.int8,
        "why": row.why,
    }
