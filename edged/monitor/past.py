# SPDX-License-Identifier: Apache-2.0
"""As much of the last hour as it takes to explain a fall of throughput, in little memory.

All readings of an hour would be 16 MB. What `edged.monitor.causes.explain` looks at are the newest span and the best
one: so the newest spans are kept whole, and of each five minutes before them the best span.
"""

from __future__ import annotations

from collections import deque

from edged.monitor.causes import Finding, compare
from edged.monitor.causes_spans import Span, Thresholds
from edged.monitor.readings import Reading, Throughput

_BLOCK_S = 300.0
_BLOCKS = 12


class Past:
    """Takes readings and figures, and explains falls.

    Args:
        interval_s: between two readings, seconds.
    """

    def __init__(self, interval_s: float = 1.0) -> None:
        self._limits = Thresholds(span_s=max(10.0, 5 * interval_s), gap_s=max(10.0, 3 * interval_s))
        most = 2 + int(1.2 * self._limits.span_s / interval_s)
        self._figures: deque[Throughput] = deque(maxlen=most)
        self._readings: deque[Reading] = deque(maxlen=most)
        self._best: dict[int, Span] = {}
        self._next_look: float | None = None

    def clear(self) -> None:
        """Forget everything: what comes does not compare with it."""
        self._figures.clear()
        self._readings.clear()
        self._best.clear()
        self._next_look = None

    def add(self, reading: Reading | None, figure: Throughput) -> None:
        """Take in what was read and what was done.

        Args:
            reading: None where nothing is known; one that was taken in before is left out.
            figure: later than the one before.
        """
        if reading is not None and (not self._readings or reading.at > self._readings[-1].at):
            self._readings.append(reading)
        self._figures.append(figure)
        if self._next_look is None:
            self._next_look = figure.at + self._limits.span_s
        if figure.at >= self._next_look:
            self._next_look = figure.at + self._limits.span_s
            self._keep_if_best(figure.at)

    def explain(self) -> Finding | None:
        """Why throughput is lower than at its best in the last hour; None where it is not, or too little is known."""
        now = self._newest()
        then = max(self._best.values(), key=lambda span: span.hz, default=None)
        if now is None or then is None or now.hz >= (1 - self._limits.fell) * then.hz:
            return None
        return compare(then, now, self._limits)

    def _newest(self) -> Span | None:
        if not self._figures:
            return None
        span_s, end = self._limits.span_s, self._figures[-1].at
        figures = [figure for figure in self._figures if end - span_s < figure.at]
        if len(figures) < self._limits.figures:
            return None
        # A reading is taken just before or after the figures of its moment.
        readings = [reading for reading in self._readings if end - 1.1 * span_s <= reading.at]
        return Span(figures, readings, self._limits.gap_s)

    def _keep_if_best(self, now_s: float) -> None:
        span, block = self._newest(), int(now_s // _BLOCK_S)
        best = self._best.get(block)
        if span is not None and (best is None or span.hz > best.hz):
            self._best[block] = span
        for old in [number for number in self._best if number <= block - _BLOCKS]:
            del self._best[old]
