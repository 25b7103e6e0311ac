# SPDX-License-Identifier: Apache-2.0
"""Which of two models' detections are the same object."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Detected

WEAK = 0.5
"""Part of the score from which on a detection is strong; between the two it may be the partner of a strong one."""


class Paired(NamedTuple):
    """Pairs of detections, one at least of each strong.

    Attributes:
        first: positions among the first model's detections.
        second: positions among the second's, of the same length.
        ious: intersection over union of each pair.
    """

    first: NDArray[np.intp]
    second: NDArray[np.intp]
    ious: NDArray[np.float64]


class Agreement(NamedTuple):
    """How far two models agree about a frame.

    Attributes:
        right: for every strong detection of either, whether it has a partner.
        classes: of the same detections.
    """

    right: NDArray[np.bool_]
    classes: NDArray[np.int64]


def pair(first: Detected, second: Detected, strong: float, iou: float) -> Paired:
    """Pair detections of the same class whose boxes overlap.

    Strong ones go first, then large overlaps. A score that moves across the threshold by a hair is no disagreement, so
    a strong detection may have a weaker partner (`WEAK`). Exchanging the two models exchanges the answer and changes
    nothing else.

    Args:
        first: one model's; scores of at least ``WEAK * strong``.
        second: the other's.
        strong: score from which on a detection counts.
        iou: least intersection over union of a pair.
    """
    overlaps = ious(first.boxes, second.boxes)
    strongest = (first.scores >= strong)[:, np.newaxis].astype(int) + (second.scores >= strong)[np.newaxis]
    fits = (overlaps >= iou) & (first.classes[:, np.newaxis] == second.classes[np.newaxis]) & (strongest > 0)
    rows, columns = np.nonzero(fits)
    # The last two keys are the same for (a, b) and (b, a), which never compete: so ties are broken alike both ways.
    low, high = np.minimum(rows, columns), np.maximum(rows, columns)
    order = np.lexsort((high, low, -overlaps[rows, columns], -strongest[rows, columns]))
    taken_rows: set[int] = set()
    taken_columns: set[int] = set()
    kept = []
    for place in order.tolist():
        row, column = int(rows[place]), int(columns[place])
        if row not in taken_rows and column not in taken_columns:
            taken_rows.add(row)
            taken_columns.add(column)
            kept.append(place)
    return Paired(rows[kept], columns[kept], overlaps[rows[kept], columns[kept]])


def agreement(first: Detected, second: Detected, paired: Paired, strong: float) -> Agreement:
    """Which strong detections have a partner.

    The part of them that has one is the F-measure of one model held against the other, 2·P·R / (P + R): it does not
    matter which of the two is the truth.
    """
    has = [np.zeros(len(one.scores), np.bool_) for one in (first, second)]
    has[0][paired.first] = True
    has[1][paired.second] = True
    counts = [one.scores >= strong for one in (first, second)]
    return Agreement(
        np.concatenate([has[0][counts[0]], has[1][counts[1]]]),
        np.concatenate([first.classes[counts[0]], second.classes[counts[1]]]),
    )


def ious(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union of boxes x1, y1, x2, y2: [n, 4] and [m, 4] give [n, m]; without area it is 0."""
    one, other = first[:, np.newaxis], second[np.newaxis]
    sides = np.maximum(np.minimum(one[..., 2:], other[..., 2:]) - np.maximum(one[..., :2], other[..., :2]), 0.0)
    both = sides.prod(axis=2)
    union = (one[..., 2:] - one[..., :2]).prod(axis=2) + (other[..., 2:] - other[..., :2]).prod(axis=2) - both
    result: NDArray[np.float64] = np.divide(both, union, out=np.zeros_like(both), where=union > 0)
    return result
