# SPDX-License-Identifier: Apache-2.0
"""Measures plans within a budget, each only once, and keeps the curve."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

import msgspec

from edged.engine.int8.journal import Journal
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.point import Limits, Point
from edged.engine.int8.view import GraphView

Evaluate = Callable[[QuantizationPlan], float]
"""Loss of a plan in points against the float model; negative if it is better."""
Distance = Callable[[QuantizationPlan], float]
"""Distance of a plan's answers from the float model's, see `distance.Meter`."""
Tell = Callable[[str], None]
"""Takes a line on what is being done."""


class OutOfBudgetError(Exception):
    """Ends a search from wherever it is."""


class Measured:
    """Distances and losses of plans.

    Args:
        view: of the graph.
        distance: of a plan, on calibration frames.
        evaluate: of a plan, on frames that calibration never saw.
        limits: what may be used.
        journal: what is known already.
        clock: monotonic, seconds; time starts now.
        tell: hears of every plan evaluated.

    Attributes:
        points: every plan evaluated, in order.
    """

    def __init__(
        self,
        view: GraphView,
        distance: Distance,
        evaluate: Evaluate,
        limits: Limits,
        journal: Journal,
        clock: Callable[[], float],
        tell: Tell,
    ) -> None:
        self.points: list[Point] = []
        self._view = view
        self._distance = distance
        self._evaluate = evaluate
        self._limits = limits
        self._journal = journal
        self._clock = clock
        self._tell = tell
        self._started = clock()

    @property
    def seconds(self) -> float:
        """Time since the start."""
        return self._clock() - self._started

    def distance(self, plan: QuantizationPlan) -> float:
        """Distance of a plan.

        Raises:
            OutOfBudgetError: it is not known and there is no time left.
        """
        name = digest_of_plan(plan)
        value = self._journal.get("distance", name)
        if value is None:
            self.check_time()
            value = float(self._distance(plan))
            self._journal.put("distance", name, value)
        return value

    def loss(self, plan: QuantizationPlan, step: str) -> Point:
        """Evaluate a plan, which becomes a point of the curve.

        Raises:
            OutOfBudgetError: it is not known and there is no time or no evaluation left.
        """
        known = next((point for point in self.points if point.plan == plan), None)
        if known is not None:
            return known
        if len(self.points) >= self._limits.evaluations:
            raise OutOfBudgetError
        name = digest_of_plan(plan)
        value = self._journal.get("loss", name)
        if value is None:
            self.check_time()
            value = float(self._evaluate(plan))
            self._journal.put("loss", name, value)
        point = Point(step=step, share=self._view.share(plan.nodes), loss=value, plan=plan)
        self.points.append(point)
        self._tell(f"{step}: {point.share:.1%} of the multiply-adds in INT8, {value:.2f} points lost")
        return point

    def check_time(self) -> None:
        """Raise where there is none left.

        Raises:
            OutOfBudgetError: that.
        """
        if self.seconds > self._limits.seconds:
            raise OutOfBudgetError


def digest_of_plan(plan: QuantizationPlan) -> str:
    """What a journal calls a plan; corrections follow from all the rest, but for the last digits of their sums."""
    corrected = sorted(plan.bias)
    content = msgspec.structs.replace(plan, bias={}).to_json() + "\n".join(corrected).encode()
    return hashlib.sha256(content).hexdigest()[:32]
