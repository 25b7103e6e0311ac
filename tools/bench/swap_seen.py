# SPDX-License-Identifier: Apache-2.0
"""What the predictions around a swap of engines say of it, for the benchmark and for the check on a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from edged.messages import Prediction

RECENT_S = 0.5


class Pauses(NamedTuple):
    """Pauses between predictions around one swap, milliseconds.

    Attributes:
        batch_ms: of a batch of the old engine, copies included: the median of the half second before.
        at_boundary_ms: from the last result of the old engine to the first one of the new.
        longest_ms: between two results.
    """

    batch_ms: float
    at_boundary_ms: float
    longest_ms: float


def published_s(message: Prediction) -> float:
    """When a prediction was published, on CLOCK_MONOTONIC, seconds: what the daemon itself measured, to 1 µs."""
    return message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3


def pauses(messages: Sequence[Prediction], key: str) -> Pauses:
    """Of one source's predictions, or of all of them.

    Args:
        messages: at least one of the old engine and one of the new, in any order.
        key: of the new engine.
    """
    predictions = sorted(messages, key=published_s)
    old = [message for message in predictions if message.model.engine != key]
    new = [message for message in predictions if message.model.engine == key]
    boundary_s = published_s(old[-1])
    recent = [message for message in old if boundary_s - published_s(message) < RECENT_S]
    batch_ms = median(message.timing_ms.copy + message.timing_ms.infer for message in recent)
    return Pauses(batch_ms, (published_s(new[0]) - boundary_s) * 1e3, longest_ms(predictions))


def longest_ms(messages: Sequence[Prediction]) -> float:
    """The longest pause between two predictions, milliseconds; 0 for fewer than two."""
    times = sorted(published_s(message) for message in messages)
    return max((after - before for before, after in pairwise(times)), default=0.0) * 1e3


def gaps(predictions: Sequence[Prediction]) -> int:
    """Sequence numbers of one source that are missing or came twice."""
    seqs = [message.seq for message in predictions]
    return sum(abs(after - before - 1) for before, after in pairwise(seqs))
