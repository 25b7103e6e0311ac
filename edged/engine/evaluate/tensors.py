# SPDX-License-Identifier: Apache-2.0
"""Measures of raw models: how far their tensors are from FP32's."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from edged.engine.evaluate.findings import Sampled
from edged.engine.evaluate.meter import Both, Measured, Meter, Worst
from edged.engine.evaluate.scores import Floats, Norms, Perfect
from edged.errors import InternalError


class TensorMeter(Meter[Sampled]):
    """100 points are equal tensors, 0 those that are as far from FP32's as nothing at all would be."""

    def measure(self, found: Iterable[Sampled], worst: int) -> Measured:
        """See `Meter.measure`."""
        names = self.reference[0].names
        error = np.zeros((len(self.reference), len(names)))
        size = np.zeros_like(error)
        kept = Worst(worst)
        for image, (ours, theirs) in enumerate(zip(self.reference, found, strict=True)):
            for place, (right, value) in enumerate(zip(ours.values, theirs.values, strict=True)):
                if right.shape != value.shape:
                    raise InternalError(f"tensor {names[place]} differs in shape between two runs", where="evaluation")
                error[image, place], size[image, place] = norms(right.astype(np.float64), value.astype(np.float64))
            alone = Norms(error[image : image + 1], size[image : image + 1])
            kept.add(100.0 - float(alone.points(np.ones((1, 1)))[0]), image, theirs)
        score = Norms(error, size)
        return Measured(
            metric="agreement (relative norm)",
            main=Both(Perfect(score), score),
            figures={},
            labels=0,
            difference="percent of FP32's norm",
            worst=kept.frames(),
            names=names,
        )


def norms(right: Floats, value: Floats) -> tuple[float, float]:
    """Squared norms of value − right and of right, where right is finite; a value that is not counts as all wrong."""
    usable = np.isfinite(right)
    right, value = right[usable], value[usable]
    size = float(right @ right)
    if not np.isfinite(value).all():
        return max(size, 1.0), size
    difference = value - right
    return float(difference @ difference), size
