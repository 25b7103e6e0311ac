# SPDX-License-Identifier: Apache-2.0
"""What is common to measuring models of any task: one pass over what they find."""

from __future__ import annotations

import heapq
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

import numpy as np

from edged.engine.evaluate.findings import Finding
from edged.engine.evaluate.result import Histograms
from edged.engine.evaluate.scores import Floats, Score

BINS = 20
"""Of a histogram of scores."""

F = TypeVar("F", bound=Finding)


class Both(NamedTuple):
    """A measure of the FP32 form and of the model."""

    reference: Score
    value: Score


class Kept(NamedTuple):
    """A frame on which the two differ much: how much, its position, what the model found."""

    difference: float
    image: int
    finding: Finding


class Worst:
    """Keeps the frames with the largest difference; those without one never.

    Args:
        most: how many.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._heap: list[tuple[float, float, int, Finding]] = []

    def add(self, difference: float, image: int, finding: Finding, tie: float = 0.0) -> None:
        """Consider a frame; of equal differences the larger ``tie`` is worse, then the earlier frame."""
        if difference > 0 and self._most:
            heapq.heappush(self._heap, (difference, tie, -image, finding))
            if len(self._heap) > self._most:
                heapq.heappop(self._heap)

    def frames(self) -> list[Kept]:
        """Worst first."""
        return [Kept(one[0], -one[2], one[3]) for one in sorted(self._heap, key=lambda one: one[:3], reverse=True)]


@dataclass(frozen=True)
class Measured:
    """What one pass gave.

    Attributes:
        metric: name of the measure that counts.
        main: the measure that counts.
        figures: further measures by name.
        labels: how many boxes, classes or pixels the truth holds.
        difference: what the worst frames' difference counts.
        worst: frames, worst first.
        shifts: differences of the scores of the same findings, [pairs].
        histograms: of all scores.
        names: of the classes, where they are not the model's.
    """

    metric: str
    main: Both
    figures: dict[str, Both]
    labels: int
    difference: str
    worst: list[Kept]
    shifts: Floats = field(default_factory=lambda: np.empty(0))
    histograms: Histograms | None = None
    names: Sequence[str] = ()


class Meter(ABC, Generic[F]):
    """Holds what a model finds against what its FP32 form found, and against labels where there are any.

    Args:
        reference: what FP32 found in each image.
    """

    def __init__(self, reference: Sequence[F]) -> None:
        self.reference = reference

    @abstractmethod
    def measure(self, found: Iterable[F], worst: int) -> Measured:
        """Take what a model finds in each image, one after the other.

        Args:
            found: as many as there are images.
            worst: how many of the worst frames to keep.
        """


class Histogram:
    """Counts scores in `BINS` equal bins from 0 to 1; beyond them they count at the ends."""

    def __init__(self) -> None:
        self._counts = np.zeros(BINS, np.int64)

    def add(self, scores: Floats | Sequence[float]) -> None:
        """Count some scores."""
        places = np.clip((np.asarray(scores, np.float64) * BINS).astype(np.int64), 0, BINS - 1)
        self._counts += np.bincount(places, minlength=BINS)

    def counts(self) -> tuple[int, ...]:
        """What was counted."""
        return tuple(self._counts.tolist())
