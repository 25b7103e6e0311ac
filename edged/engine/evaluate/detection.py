# SPDX-License-Identifier: Apache-2.0
"""Measures of detection: COCO's average precision with labels, else agreement with FP32."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from edged.engine.evaluate.average_precision import Precision, match
from edged.engine.evaluate.findings import Detected
from edged.engine.evaluate.labels import Boxes
from edged.engine.evaluate.meter import Both, Histogram, Measured, Meter, Worst
from edged.engine.evaluate.pairing import WEAK, Agreement, agreement, pair
from edged.engine.evaluate.result import Histograms
from edged.engine.evaluate.scores import Perfect, Ratio

IOUS = (0.5, 0.9)
"""Overlaps from which on two models' detections are the same object."""


class DetectionMeter(Meter[Detected]):
    """See the module.

    Args:
        reference: FP32's detections.
        strong: score from which on a detection counts for the agreement.
        truths: of each image.
        classes: numbers of the classes that the truths tell apart.
    """

    def __init__(
        self,
        reference: Sequence[Detected],
        strong: float,
        truths: Sequence[Boxes] | None = None,
        classes: Sequence[int] = (),
    ) -> None:
        super().__init__(reference)
        self._strong = strong
        self._truths = truths
        self._classes = classes
        self._known: Precision | None = None
        self._histogram = Histogram()
        for one in reference:
            self._histogram.add(one.scores)

    def measure(self, found: Iterable[Detected], worst: int) -> Measured:
        """See `Meter.measure`."""
        tallies = [Tally(len(self.reference)) for _ in IOUS]
        kept, histogram = Worst(worst), Histogram()
        shifts, values = [], []
        for image, (ours, theirs) in enumerate(zip(self.reference, found, strict=True)):
            first, second = ours.above(WEAK * self._strong), theirs.above(WEAK * self._strong)
            for tally, iou in zip(reversed(tallies), reversed(IOUS), strict=True):
                paired = pair(first, second, self._strong, iou)
                agreed = agreement(first, second, paired, self._strong)
                tally.add(image, agreed)
            shift = second.scores[paired.second] - first.scores[paired.first]
            shifts.append(shift)
            kept.add(float((~agreed.right).sum()), image, theirs, float(np.abs(shift).sum()))
            histogram.add(theirs.scores)
            if self._truths is not None:
                values.append(theirs)
        agreements = {
            f"agreement at IoU {iou:g}": _against_itself(tally.score())
            for iou, tally in zip(IOUS, tallies, strict=True)
        }
        metric, main, figures = self._points(values, agreements)
        return Measured(
            metric=metric,
            main=main,
            figures=figures,
            labels=0 if self._truths is None else sum(int((~one.crowd).sum()) for one in self._truths),
            difference="detections that only one of the two has",
            worst=kept.frames(),
            shifts=np.concatenate(shifts),
            histograms=Histograms(reference=self._histogram.counts(), value=histogram.counts()),
        )

    def _points(self, values: Sequence[Detected], agreements: dict[str, Both]) -> tuple[str, Both, dict[str, Both]]:
        """Name of what counts, its scores, and the further figures."""
        if self._truths is None:
            name = next(iter(agreements))
            return name, agreements.pop(name), agreements
        if self._known is None:
            self._known = Precision(match(self._truths, self.reference, self._classes))
        value = Precision(match(self._truths, values, self._classes))
        fifty = Both(self._known.at_half(), value.at_half())
        return "AP", Both(self._known, value), {"AP50": fifty, **agreements}


class Tally:
    """Adds up agreements.

    Args:
        images: how many there are.
    """

    def __init__(self, images: int) -> None:
        self._right = np.zeros(images)
        self._total = np.zeros(images)
        self._classes: dict[int, tuple[float, float]] = {}

    def add(self, image: int, agreed: Agreement) -> None:
        """Add an image's."""
        self._right[image] = agreed.right.sum()
        self._total[image] = len(agreed.right)
        for number in np.unique(agreed.classes).tolist():
            mine = agreed.classes == number
            right, total = self._classes.get(number, (0.0, 0.0))
            self._classes[number] = (right + float(agreed.right[mine].sum()), total + float(mine.sum()))

    def score(self) -> Ratio:
        """All together."""
        return Ratio(self._right, self._total, self._classes)


def _against_itself(score: Ratio) -> Both:
    return Both(Perfect(score), score)
