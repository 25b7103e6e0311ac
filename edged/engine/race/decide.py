# SPDX-License-Identifier: Apache-2.0
"""Who won: from rates round by round to a winner, and the sentence that says why."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import NamedTuple

from edged.engine.race.entrant import Entrant
from edged.engine.report.words import points
from edged.rig.figures import FEWEST_ROUNDS, Spread, outcome, spread

WORTHWHILE = 1.02
"""A smaller gain is none, however sure it is: it does not outweigh the precision that it costs."""
_FEW_ROUNDS = 3
_WORTHWHILE_OF_FEW = 1.05
_BEST_FIRST: tuple[str, ...] = ("fp32", "tf32", "fp16", "int8")

Rates = Mapping[int, Spread]
"""Frames a second of an entrant by batch size."""


class Decision(NamedTuple):
    """What came out.

    Attributes:
        winner: name; None where nobody may win.
        why: a sentence with figures.
        ties: names of those that were no slower or faster than the fastest beyond the spread, and that nobody of a
            higher precision was ahead of; without the winner.
        speeds: by name, rate against that of the fastest that may win, round by round.
    """

    winner: str | None
    why: str
    ties: tuple[str, ...] = ()
    speeds: Mapping[str, Spread] = {}


def rule(weights: Mapping[int, float]) -> str:
    """How it is decided, in a sentence."""
    deciding = {size: weight for size, weight in weights.items() if weight > 0}
    if len(deciding) == 1:
        (size,) = deciding
        by = f"frames/s at batch {size}"
    elif len(set(deciding.values())) == 1:
        by = f"geometric mean of the frames/s at batch {_and(deciding)}"
    else:
        shares = ", ".join(f"{size}: {weight / sum(deciding.values()):.0%}" for size, weight in deciding.items())
        by = f"geometric mean of the frames/s by batch size, weighted {shares}"
    return (
        f"{by}; of those that hold the bound the fastest wins, unless a higher precision is within the spread of the "
        f"rounds (sign test at 1 %, or a median below {WORTHWHILE:g}×) of it and not behind a still higher one"
    )


def decide(entrants: Sequence[Entrant], rates: Mapping[str, Rates], weights: Mapping[int, float]) -> Decision:
    """The winner.

    Args:
        entrants: all of them.
        rates: of those that were timed, by name; all have the same sizes and rounds, at least one.
        weights: of the sizes.
    """
    timed = [one for one in entrants if one.name in rates]
    allowed = [one for one in timed if not one.refused_because]
    scores = {one.name: _scores(rates[one.name], weights) for one in timed}
    if not allowed:
        return Decision(None, _nobody(timed, scores))
    fastest = _fastest(allowed, scores)
    speeds = {one.name: _ratio(scores[one.name], scores[fastest.name]) for one in timed}
    level = [one for one in allowed if not _slower(speeds[one.name]) and not _behind(one, allowed, speeds, fastest)]
    winner = min(level, key=lambda one: (*_rank(one), one is not fastest))
    ties = tuple(one.name for one in level if one is not winner)
    race = _Race(timed, allowed, speeds, fastest, winner)
    return Decision(winner.name, race.why(), ties, speeds)


def _scores(rates: Rates, weights: Mapping[int, float]) -> list[float]:
    """Each round's logarithm of the weighted geometric mean of the rates."""
    total = sum(weights.values())
    parts = [(weight / total, rates[size].rounds) for size, weight in weights.items() if weight > 0]
    return [sum(share * math.log(rounds[number]) for share, rounds in parts) for number in range(len(parts[0][1]))]


def _fastest(some: Sequence[Entrant], scores: Mapping[str, Sequence[float]]) -> Entrant:
    """The one with the best median against the mean of its round: one that was slow for all counts like another."""
    means = [fmean(own) for own in zip(*(scores[one.name] for one in some), strict=True)]
    return max(some, key=lambda it: median(own - mean for own, mean in zip(scores[it.name], means, strict=True)))


def _ratio(above: Sequence[float], below: Sequence[float]) -> Spread:
    return spread([math.exp(one - other) for one, other in zip(above, below, strict=True)])


def _slower(ratio: Spread) -> bool:
    """Whether rounds agree that a ratio is below 1, by enough to matter."""
    if len(ratio.rounds) >= FEWEST_ROUNDS:
        return outcome(ratio) == "lower" and ratio.median * WORTHWHILE <= 1
    # No test is sure with so few: all have to agree, by more.
    return len(ratio.rounds) >= _FEW_ROUNDS and ratio.high < 1 and ratio.median * _WORTHWHILE_OF_FEW <= 1


def _behind(one: Entrant, others: Sequence[Entrant], speeds: Mapping[str, Spread], fastest: Entrant) -> bool:
    """Whether one of a higher precision has the better median: who is level only by its own noise wins no tie."""
    own, precision = speeds[one.name].median, _BEST_FIRST.index(one.precision)
    return one is not fastest and any(
        _BEST_FIRST.index(other.precision) < precision and speeds[other.name].median > own for other in others
    )


def _rank(one: Entrant) -> tuple[int, float]:
    """Among those equally fast: precision, then what it loses; the smallest is the best."""
    return _BEST_FIRST.index(one.precision), math.inf if one.loss is None else one.loss


class _Race(NamedTuple):
    """What the sentence is made of."""

    timed: list[Entrant]
    allowed: list[Entrant]
    speeds: Mapping[str, Spread]
    fastest: Entrant
    winner: Entrant

    def why(self) -> str:
        """The sentence."""
        winner, rounds = self.winner, len(self.speeds[self.winner.name].rounds)
        others = [one for one in self.allowed if one is not winner]
        over = f"over {rounds} round{'s' * (rounds != 1)}"
        if not others:
            text = f"{winner.name} is the only one that may win"
        elif winner is not self.fastest:
            text = self._tie(over)
        else:
            rival = max(others, key=lambda one: self.speeds[one.name].median)
            text = f"{winner.name} is the fastest: {self._against(rival, over)}"
        return f"{text}{_loss(winner)}{self._refused()}"

    def _tie(self, over: str) -> str:
        speed, winner, fastest = self.speeds[self.winner.name], self.winner, self.fastest
        figures = f"{1 / speed.median:.2f}×, {1 / speed.high:.2f}–{1 / speed.low:.2f} {over}"
        if len(speed.rounds) < _FEW_ROUNDS:
            reason = "too few rounds to tell them apart"
        else:
            sure = outcome(speed) == "lower"
            little = f"gains less than {WORTHWHILE - 1:.0%}" if sure else "is no faster beyond the spread"
            reason = f"{fastest.name} {little}"
        return f"{winner.name} {_better(winner, fastest)}, and {reason} ({figures})"

    def _against(self, rival: Entrant, over: str) -> str:
        speed = self.speeds[rival.name]
        figures = f"{1 / speed.median:.2f}× the speed of {rival.name} ({1 / speed.high:.2f}–{1 / speed.low:.2f} {over})"
        return figures if _slower(speed) else f"{figures}, a tie in which it {_better(self.winner, rival)}"

    def _refused(self) -> str:
        """A faster one that was not allowed, which somebody will ask about."""
        own = self.speeds[self.winner.name].median
        faster = [one for one in self.timed if one.refused_because and self.speeds[one.name].median > own * WORTHWHILE]
        if not faster:
            return ""
        best = max(faster, key=lambda one: self.speeds[one.name].median)
        ratio = self.speeds[best.name].median / own
        return f"; {best.name} would be {ratio:.2f}× as fast, but: {best.refused_because}"


def _better(winner: Entrant, other: Entrant) -> str:
    """What decided between two that are equally fast."""
    if winner.precision != other.precision:
        return "has the higher precision"
    return "loses less" if _rank(winner) < _rank(other) else "has the better median"


def _loss(one: Entrant) -> str:
    if one.loss is None or one.precision == "fp32":
        return ""
    return f"; it loses {points(one.loss, one.error)} points"


def _nobody(timed: Sequence[Entrant], scores: Mapping[str, Sequence[float]]) -> str:
    if not timed:
        return "there was nobody to race"
    reasons = "; ".join(f"{one.name}: {one.refused_because}" for one in timed)
    return f"nobody may win ({reasons}); the fastest was {_fastest(timed, scores).name}"


def _and(numbers: Mapping[int, float]) -> str:
    *first, last = map(str, numbers)
    return f"{', '.join(first)} and {last}"
