# SPDX-License-Identifier: Apache-2.0
"""Measures of classification: the best class right, or the same as in FP32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edged.engine.evaluate.findings import Classified
from edged.engine.evaluate.meter import Both, Histogram, Measured, Meter, Worst
from edged.engine.evaluate.result import Histograms
from edged.engine.evaluate.scores import Perfect, Ratio

SEVERAL = 5
"""Best classes among which the right one is for top-5."""


class ClassificationMeter(Meter[Classified]):
    """See the module.

    Args:
        reference: FP32's classes.
        truths: class number of each image.
    """

    def __init__(self, reference: Sequence[Classified], truths: Sequence[int] | None = None) -> None:
        super().__init__(reference)
        self._truths = truths
        self._histogram = Histogram()
        for one in reference:
            self._histogram.add(one.scores[:1])

    def measure(self, found: Iterable[Classified], worst: int) -> Measured:
        """See `Meter.measure`."""
        kept, histogram = Worst(worst), Histogram()
        shifts: list[float] = []
        values: list[Classified] = []
        for image, (ours, theirs) in enumerate(zip(self.reference, found, strict=True)):
            values.append(Classified(theirs.classes[:SEVERAL], theirs.scores[:SEVERAL]))
            histogram.add(theirs.scores[:1])
            if ours.classes[:1] != theirs.classes[:1]:
                kept.add(max(ours.scores[:1], default=0.0) or 1e-9, image, theirs)
            shifts += [
                score - ours.scores[0]
                for number, score in zip(theirs.classes, theirs.scores, strict=True)
                if (number,) == ours.classes[:1]
            ]
        main, figures = self._points(values)
        return Measured(
            metric="agreement" if self._truths is None else "top-1",
            main=main,
            figures=figures,
            labels=0 if self._truths is None else len(self._truths),
            difference="score in FP32 of a class that the model does not have first",
            worst=kept.frames(),
            shifts=np.array(shifts),
            histograms=Histograms(reference=self._histogram.counts(), value=histogram.counts()),
        )

    def _points(self, values: Sequence[Classified]) -> tuple[Both, dict[str, Both]]:
        best = [one.classes[0] if one.classes else -1 for one in self.reference]
        same = among(values, best, 1)
        agreed = Both(Perfect(same), same)
        if self._truths is None:
            return agreed, {}
        figures = {"agreement": agreed}
        if any(len(one.classes) >= SEVERAL for one in self.reference):
            figures["top-5"] = self._both(values, SEVERAL)
        return self._both(values, 1), figures

    def _both(self, values: Sequence[Classified], several: int) -> Both:
        assert self._truths is not None
        return Both(among(self.reference, self._truths, several), among(values, self._truths, several))


def among(found: Sequence[Classified], wanted: Sequence[int], several: int) -> Ratio:
    """How often the class wanted is among the best few."""
    right = np.array([number in one.classes[:several] for one, number in zip(found, wanted, strict=True)], np.float64)
    classes = {}
    for number in np.unique(wanted).tolist():
        mine = np.asarray(wanted) == number
        classes[number] = (float(right[mine].sum()), float(mine.sum()))
    return Ratio(right, np.ones(len(right)), classes)
