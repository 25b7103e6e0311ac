# SPDX-License-Identifier: Apache-2.0
"""Alternating rounds: every contestant has a turn in each, so that heat, clocks and neighbours hit all alike."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

WARM_UP_S = 0.2
DEADLINE_S = 60.0
"""Longest that a batch may take; beyond it something hangs."""

Key = TypeVar("Key", bound=Hashable)


@dataclass
class Turn:
    """What came out of one turn.

    Attributes:
        batches: how many were done.
        seconds: how long all of them took together.
        latencies_ms: of each.
        stages_ms: of each stage, a figure a batch.
    """

    batches: int = 0
    seconds: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)

    def note(self, stage: str, milliseconds: float) -> None:
        """Add a batch's time in a stage."""
        self.stages_ms.setdefault(stage, []).append(milliseconds)


Stop = Callable[[], bool]


class Way(Protocol):
    """A way to run batches of one size."""

    batch: int

    def run(self, seconds: float, stop: Stop) -> Turn:
        """Run batches for a time, at least one; ends early once ``stop`` says so."""
        ...


class Plan(NamedTuple):
    """How much is measured.

    Attributes:
        rounds: turns of each contestant.
        seconds: of a turn.
        stop: whether to end now.
        tick: called after every turn.
    """

    rounds: int
    seconds: float
    stop: Stop
    tick: Callable[[], None]

    @property
    def warm_up_s(self) -> float:
        """Of each contestant, before the first round; not counted."""
        return min(WARM_UP_S, self.seconds)


def alternate(ways: Mapping[Key, Way], plan: Plan) -> dict[Key, list[Turn]]:
    """Run all ways in turns; the order is reversed from round to round.

    A round that was interrupted is left out as a whole, so that all have the same rounds.
    """
    turns: dict[Key, list[Turn]] = {key: [] for key in ways}
    for way in ways.values():
        if not plan.stop():
            way.run(plan.warm_up_s, plan.stop)
    for number in range(plan.rounds):
        order = list(ways) if number % 2 == 0 else list(ways)[::-1]
        done: dict[Key, Turn] = {}
        for key in order:
            if plan.stop():
                break
            done[key] = ways[key].run(plan.seconds, plan.stop)
            plan.tick()
        if plan.stop():
            break
        for key, turn in done.items():
            turns[key].append(turn)
    return {key: own for key, own in turns.items() if own}
