# SPDX-License-Identifier: Apache-2.0
"""Measures as functions of how much each image counts, so that resampling and parts of the images cost no new run.

Weights are float64 [resamples, images]; 1 everywhere is the set as it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


class Score(ABC):
    """One measure of one run over some images, in points from 0 to 100."""

    @abstractmethod
    def points(self, weights: Floats) -> Floats:
        """Points for each row of weights [resamples, images]; NaN where nothing that counts is left."""

    @abstractmethod
    def by_class(self) -> dict[int, float]:
        """Points by class number, over all images."""


@dataclass(frozen=True)
class Ratio(Score):
    """What is right of what there is.

    Attributes:
        right: [images].
        total: [images].
        classes: the same two numbers by class.
    """

    right: Floats
    total: Floats
    classes: Mapping[int, tuple[float, float]]

    def points(self, weights: Floats) -> Floats:
        """100 where there is nothing to be right about."""
        return _ratio(weights @ self.right, weights @ self.total)

    def by_class(self) -> dict[int, float]:
        """Of the classes that occur."""
        return {number: 100 * right / total for number, (right, total) in sorted(self.classes.items()) if total}


@dataclass(frozen=True)
class Overlaps(Score):
    """Mean of the intersections over unions of classes.

    A class counts if the truth holds it: were it enough that the model finds it, a single wrong pixel of a class that
    is nowhere would cost as much as missing a whole class. That pixel costs its own class instead.

    Attributes:
        both: pixels of a class in truth and result, [images, classes].
        truth: pixels of a class in the truth.
        found: pixels of a class in the result, where the truth counts.
    """

    both: Floats
    truth: Floats
    found: Floats

    def points(self, weights: Floats) -> Floats:
        """Mean over the classes that the truth holds in a resample."""
        truth = weights @ self.truth
        both = weights @ self.both
        union = truth + weights @ self.found - both
        there = truth > 0
        each = np.where(there, both / np.maximum(union, 1.0), 0.0).sum(axis=1)
        count = there.sum(axis=1)
        return np.where(count > 0, 100 * each / np.maximum(count, 1), np.nan)

    def by_class(self) -> dict[int, float]:
        """Of the classes that the truth holds."""
        both, truth, found = (part.sum(axis=0) for part in (self.both, self.truth, self.found))
        return {
            int(number): float(100 * both[number] / (truth[number] + found[number] - both[number]))
            for number in np.flatnonzero(truth)
        }


@dataclass(frozen=True)
class Norms(Score):
    """How near tensors are: 100 · (1 − ‖value − reference‖ / ‖reference‖), at least 0; mean over tensors.

    Attributes:
        error: squared norms of the differences, [images, tensors].
        size: squared norms of the reference.
    """

    error: Floats
    size: Floats

    def points(self, weights: Floats) -> Floats:
        """See the class."""
        each: Floats = _nearness(weights @ self.error, weights @ self.size).mean(axis=1)
        return each

    def by_class(self) -> dict[int, float]:
        """By position of the tensor."""
        return dict(enumerate(_nearness(self.error.sum(axis=0), self.size.sum(axis=0)).tolist()))


@dataclass(frozen=True)
class Perfect(Score):
    """What agrees with itself; the classes are another score's."""

    other: Score

    def points(self, weights: Floats) -> Floats:
        """100, where the other one has points at all."""
        return np.where(np.isnan(self.other.points(weights)), np.nan, 100.0)

    def by_class(self) -> dict[int, float]:
        """100 each."""
        return dict.fromkeys(self.other.by_class(), 100.0)


def resamples(images: int, draws: int, seed: int) -> Floats:
    """Weights of bootstrap resamples, [draws, images]: as many images as there are, drawn with replacement."""
    drawn = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), size=draws)
    return drawn.astype(np.float64)


def spread(losses: Floats) -> float | None:
    """Standard error out of a bootstrap's losses; None where there are none to speak of."""
    usable = losses[np.isfinite(losses)]
    return float(usable.std(ddof=1)) if len(usable) > 1 else None


def _ratio(right: Floats, total: Floats) -> Floats:
    return np.where(total > 0, 100 * right / np.maximum(total, 1e-300), 100.0)


def _nearness(error: Floats, size: Floats) -> Floats:
    # A tensor that is all 0 is near only if it stays so.
    relative = np.where(size > 0, np.sqrt(error / np.where(size > 0, size, 1.0)), np.where(error > 0, 1.0, 0.0))
    return 100 * (1 - np.minimum(relative, 1.0))
