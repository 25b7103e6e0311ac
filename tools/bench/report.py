# SPDX-License-Identifier: Apache-2.0
"""The report of a benchmark: figures with their targets, as a table and as JSON."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

_QUIET_LOAD = 0.3


class Spread(NamedTuple):
    """Median and range of what was measured several times."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of at least one value."""
        return cls(float(np.median(values)), min(values), max(values))


class Report:
    """Figures with their targets; printed as a table and written as JSON."""

    def __init__(self, benchmark: str, arguments: argparse.Namespace) -> None:
        self._benchmark = benchmark
        self._arguments = arguments
        self._figures: list[dict[str, Any]] = []
        self._load = os.getloadavg()[0]
        self.details: dict[str, Any] = {}

    def add(
        self,
        name: str,
        value: float | Spread,
        unit: str = "",
        *,
        at_least: float | None = None,
        at_most: float | None = None,
    ) -> None:
        """Add a figure; of a spread, the median is held against the target."""
        middle = value.median if isinstance(value, Spread) else value
        ok = (at_least is None or middle >= at_least) and (at_most is None or middle <= at_most)
        bounds = [f"{sign} {bound:g}" for sign, bound in (("≥", at_least), ("≤", at_most)) if bound is not None]
        figure: dict[str, Any] = {"name": name, "value": middle, "unit": unit, "target": ", ".join(bounds)}
        if isinstance(value, Spread):
            figure |= {"low": value.low, "high": value.high}
        self._figures.append(figure | {"ok": ok if bounds else None})

    def finish(self) -> int:
        """Print, write, and return the exit code."""
        table = Table(title=self._benchmark, title_justify="left")
        for heading in ("figure", "value", "range", "target", ""):
            table.add_column(heading, justify="right" if heading in ("value", "range") else "left")
        for figure in self._figures:
            spread = f"{figure['low']:.4g} - {figure['high']:.4g}" if "low" in figure else ""
            verdict = {None: "", True: "ok", False: "MISSED"}[figure["ok"]]
            value = f"{figure['value']:.4g} {figure['unit']}".strip()
            table.add_row(figure["name"], value, spread, figure["target"], verdict)
        Console(width=None if sys.stdout.isatty() else 120).print(table)
        if self._load > _QUIET_LOAD:
            print(f"note: the machine was not quiet when this began (load {self._load:.2f})")
        if self._arguments.output is not None:
            self._arguments.output.write_text(json.dumps(self._content(), indent=1) + "\n")
        return int(self._arguments.check and any(figure["ok"] is False for figure in self._figures))

    def _content(self) -> dict[str, Any]:
        import onnxruntime

        return {
            "benchmark": self._benchmark,
            "arguments": {name: str(value) for name, value in vars(self._arguments).items()},
            "machine": {
                "cores": len(os.sched_getaffinity(0)),
                "architecture": platform.machine(),
                "python": platform.python_version(),
                "onnxruntime": onnxruntime.__version__,
                "load_before": self._load,
            },
            "figures": self._figures,
            "details": self.details,
        }
