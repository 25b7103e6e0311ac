# SPDX-License-Identifier: Apache-2.0
"""How long a turn and how many rounds, so that a race fills its time and does not outlast it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edged.engine.race.entrant import Limits
from edged.rig.rounds import WARM_UP_S

_ROUNDS_APART = 5
_ROUNDING = 1e-6
"""So that the rounds that a turn was made for are not one fewer by the last digit."""
_MARGIN = 0.9
"""Of the time left that is planned for; the rest is for what takes longer than it did before."""


class Pace(NamedTuple):
    """Seconds of a turn, and rounds."""

    turn_s: float
    rounds: int

    @property
    def warm_up_s(self) -> float:
        """Of each way, as `edged.rig.rounds.Plan` has it."""
        return min(WARM_UP_S, self.turn_s)


def pace_together(costs_s: Sequence[float], left_s: float, limits: Limits) -> Pace:
    """Where all are loaded.

    Args:
        costs_s: what a single batch of each way took: a turn lasts longer by about that.
        left_s: time left.
        limits: of the race.
    """
    usable, over, ways = _MARGIN * left_s, sum(costs_s), len(costs_s)
    # The warm-up is a round more.
    turn = (usable / (limits.rounds + 1) - over) / ways
    turn = min(max(turn, limits.turn_s), max(limits.longest_turn_s, limits.turn_s))
    round_s = ways * turn + over
    warm_s = ways * min(WARM_UP_S, turn) + over
    return Pace(turn, max(1, min(limits.most_rounds, int((usable - warm_s) / round_s + _ROUNDING))))


def pace_apart(ways: int, left_s: float, limits: Limits) -> Pace:
    """Where each is loaded anew in every round: fewer rounds, and longer turns, as each is paid for with a load.

    Half the time is planned for turns; what loading takes shows only then, so that rounds end when time does.
    """
    turn = 0.5 * left_s / (_ROUNDS_APART * ways)
    turn = min(max(turn, limits.turn_s), max(2 * limits.longest_turn_s, limits.turn_s))
    return Pace(turn, limits.rounds)


class Deadline:
    """Time left, and whether to stop.

    Args:
        seconds: from now.
        cancelled: whether somebody wants the race to end.
        clock: monotonic, seconds.
    """

    def __init__(self, seconds: float, cancelled: Callable[[], bool], clock: Callable[[], float]) -> None:
        self.cancelled = cancelled
        self._clock = clock
        self._begin = clock()
        self._end = self._begin + seconds

    @property
    def left_s(self) -> float:
        """Seconds; not below 0."""
        return max(0.0, self._end - self._clock())

    @property
    def spent_s(self) -> float:
        """Seconds since the start."""
        return self._clock() - self._begin

    def stop(self) -> bool:
        """Whether time is up or somebody wants the race to end."""
        return self.cancelled() or self._clock() >= self._end
