# SPDX-License-Identifier: Apache-2.0
"""Contestants against the first one, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from edged.bench.report import Comparison, Contestant, LevelName
from edged.rig.figures import FEWEST_ROUNDS, Spread, outcome, ratios

_LEVELS: tuple[Literal["engine", "pipeline"], ...] = ("engine", "pipeline")


class _Pair(NamedTuple):
    level: LevelName
    batch: int
    first: Spread
    other: Spread


def comparisons(contestants: Sequence[Contestant]) -> list[Comparison]:
    """Every other contestant against the first, wherever both were measured."""
    first, *others = contestants
    return [_compare(first.label, other.label, pair) for other in others for pair in _pairs(first, other)]


def _pairs(first: Contestant, other: Contestant) -> Iterator[_Pair]:
    for level in _LEVELS:
        for batch in first.batches(level):
            one, two = first.found(level, batch), other.found(level, batch)
            if one is not None and two is not None:
                yield _Pair(level, batch, one.frames_per_s, two.frames_per_s)
    if first.daemon is not None and other.daemon is not None:
        yield _Pair("daemon", other.daemon.batch, first.daemon.frames_per_s, other.daemon.frames_per_s)


def _compare(first: str, label: str, pair: _Pair) -> Comparison:
    ratio = ratios(pair.other, pair.first)
    count = len(ratio.rounds)
    figures = f"{ratio.median:.3f}, {ratio.low:.3f}–{ratio.high:.3f} over {count} round{'s' * (count != 1)}"
    came = outcome(ratio)
    winner = {"higher": label, "lower": first}.get(came)
    if came == "higher":
        sentence = f"{label} is faster: {ratio.median:.2f}× {first} ({figures})"
    elif came == "lower":
        sentence = f"{first} is faster: {1 / ratio.median:.2f}× {label} (ratio {figures})"
    elif came == "none":
        sentence = f"no difference beyond the spread (ratio {figures})"
    else:
        sentence = f"too few rounds to tell, {FEWEST_ROUNDS} are needed (ratio {figures})"
    return Comparison(level=pair.level, batch=pair.batch, label=label, ratio=ratio, winner=winner, sentence=sentence)
