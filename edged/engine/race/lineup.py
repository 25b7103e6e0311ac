# SPDX-License-Identifier: Apache-2.0
"""Loading the entrants and giving them their turns: all at once in memory, or one after the other in each round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from edged.engine.race.entrant import Course, Entrant, Facts, Limits
from edged.engine.race.pace import Deadline, Pace, pace_apart, pace_together
from edged.errors import ConfigError
from edged.gpu.errors import CudaError, EngineRunError, GpuLostError, GpuMemoryError
from edged.rig.pipe import Pumped
from edged.rig.rounds import Plan, Turn, Way, alternate

Progress = Callable[[int, int], None]
"""Takes the turns done and those planned."""


class Key(NamedTuple):
    """A way in a round: whose, at which batch size."""

    name: str
    batch: int


Turns = dict[Key, list[Turn]]


class Ran(NamedTuple):
    """What came of the rounds.

    Attributes:
        turns: of each way, a turn a round; the same rounds for all.
        pace: as planned.
        together: whether all were loaded at once.
    """

    turns: Turns
    pace: Pace
    together: bool


class LineUp:
    """The entrants of a race.

    Args:
        entrants: all of them.
        course: where.
        limits: how long.
        deadline: when to stop.
        progress: hears of every turn.

    Attributes:
        facts: of those that were loaded, by name.
        failed: why an entrant could not be loaded or run, by name.
    """

    def __init__(
        self, entrants: Sequence[Entrant], course: Course, limits: Limits, deadline: Deadline, progress: Progress
    ) -> None:
        self.facts: dict[str, Facts] = {}
        self.failed: dict[str, str] = {}
        self._entrants = entrants
        self._course = course
        self._limits = limits
        self._deadline = deadline
        self._progress = progress
        self._done = 0

    def run(self) -> Ran:
        """All rounds.

        Raises:
            GpuLostError: the GPU is gone.
        """
        wish = self._limits.together
        if wish is not False:
            try:
                return self._together()
            except GpuMemoryError:
                if wish:
                    raise
                self.facts.clear()
                self.failed.clear()
        return self._apart()

    def _together(self) -> Ran:
        with ExitStack() as stack:
            ways: dict[Key, Way] = {}
            costs: dict[Key, float] = {}
            for one in self._entrants:
                if self._deadline.stop():
                    break
                own = ExitStack()
                with own:
                    found = self._load(one, own)
                    if found is not None:
                        costs |= self._probe(found)
                        ways |= found
                        stack.enter_context(own.pop_all())
            pace = pace_together(list(costs.values()), self._deadline.left_s, self._limits) if ways else Pace(0.0, 0)
            turns = alternate(ways, self._plan(pace, len(ways)))
            ways.clear()
            return Ran(turns, pace, True)

    def _apart(self) -> Ran:
        sizes = len(self._course.batches)
        pace = pace_apart(len(self._entrants) * sizes, self._deadline.left_s, self._limits)
        turns: Turns = {}
        longest = 0.0
        for number in range(pace.rounds):
            before = self._deadline.spent_s
            done = self._round_apart(pace, backwards=number % 2 == 1)
            if self._deadline.stop():
                break
            for key, turn in done.items():
                turns.setdefault(key, []).append(turn)
            longest = max(longest, self._deadline.spent_s - before)
            # A round that time would cut short is lost.
            if self._deadline.left_s < longest:
                break
        return Ran({key: own for key, own in turns.items() if key.name not in self.failed}, pace, False)

    def _round_apart(self, pace: Pace, *, backwards: bool) -> dict[Key, Turn]:
        done: dict[Key, Turn] = {}
        entrants = list(self._entrants)[:: -1 if backwards else 1]
        for one in entrants:
            if self._deadline.stop():
                break
            if one.name in self.failed:
                continue
            with ExitStack() as own:
                ways = self._load(one, own, alone=True)
                if ways is not None:
                    planned = len(entrants) * len(ways)
                    found = alternate(ways, self._plan(pace._replace(rounds=1), planned * pace.rounds))
                    done |= {key: turns[0] for key, turns in found.items()}
                    ways.clear()
        return done

    def _plan(self, pace: Pace, ways: int) -> Plan:
        planned = ways * pace.rounds

        def tick() -> None:
            self._done += 1
            self._progress(self._done, planned)

        return Plan(pace.rounds, pace.turn_s, self._deadline.stop, tick)

    def _load(self, one: Entrant, own: ExitStack, *, alone: bool = False) -> dict[Key, Way] | None:
        """Its ways; None where it cannot be loaded or run, which is noted."""
        try:
            stand = one.open(self._course)
            own.enter_context(closing(stand.pipe))
            ways: dict[Key, Way] = {Key(one.name, size): Pumped(stand.pipe, size) for size in self._course.batches}
            # Once for each size: what is made in a first run is not to be measured, and must work at all.
            for way in ways.values():
                way.run(0.0, self._deadline.stop)
        except GpuLostError:
            raise
        except GpuMemoryError as error:
            if not alone:
                raise
            self.failed[one.name] = str(error)
            return None
        except (ConfigError, CudaError, EngineRunError) as error:
            self.failed[one.name] = str(error)
            return None
        self.facts[one.name] = stand.facts
        return ways

    def _probe(self, ways: Mapping[Key, Way]) -> dict[Key, float]:
        """Seconds of a single batch of each way."""
        return {key: way.run(0.0, self._deadline.stop).seconds for key, way in ways.items()}
