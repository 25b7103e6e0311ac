# SPDX-License-Identifier: Apache-2.0
"""Finds the plan with the most INT8 work whose loss holds a bound.

The way there is measured on calibration frames against the float model (`rank`), which costs no labels; the frames that
decide are asked as seldom as possible, so that the plan is not fitted to them. Nothing is random: the same measurements
give the same plan.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import cast

import msgspec

from edged.engine.int8.calibrate import Calibration
from edged.engine.int8.journal import Journal
from edged.engine.int8.measured import Distance, Evaluate, Measured, OutOfBudgetError, Tell
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.point import Found, Limits, Point
from edged.engine.int8.ranges import Method
from edged.engine.int8.rank import NodeError, rank_alone, rank_within, to_give_back
from edged.engine.int8.tune import tune_methods

Correct = Callable[[QuantizationPlan], Mapping[str, tuple[float, ...]]]
"""Bias corrections for a plan, see `correct.Corrector`."""

_PART = 0.5
"""Of the error that a round gives back."""
_METHODS_TRIED = 2
_TUNED = 12
"""Nodes whose inputs' thresholds are tuned."""
_MARGIN = 0.5
"""Part of the bound that a plan may lose which only takes more nodes in: of many tries on few frames the luckiest would
be taken, and lose more on all others."""


def silent(_line: str) -> None:
    """Hears and says nothing."""


class Search:
    """One search.

    Args:
        calibration: makes the plans.
        distance: of a plan, on calibration frames.
        evaluate: loss of a plan, on frames that calibration never saw.
        limits: what it may use.
        journal: what is known already.
        correct: makes the bias corrections of every plan that is evaluated; without it there are none.
        keep_float: keys that are never quantized.
        clock: monotonic, seconds.
        tell: hears what is being done.
    """

    def __init__(
        self,
        calibration: Calibration,
        distance: Distance,
        evaluate: Evaluate,
        limits: Limits,
        *,
        journal: Journal | None = None,
        correct: Correct | None = None,
        keep_float: Collection[str] = (),
        clock: Callable[[], float] = time.monotonic,
        tell: Tell = silent,
    ) -> None:
        self.view = calibration.view
        self.limits = limits
        self._calibration = calibration
        self._correct = correct
        self._keep_float = frozenset(keep_float)
        self._tell = tell
        journal = Journal(None, "") if journal is None else journal
        self._known = Measured(self.view, distance, evaluate, limits, journal, clock, tell)
        self._accepted: list[Point] = []
        self._ranking: list[NodeError] = []
        self._method: Method = limits.methods[0]
        self._methods: dict[str, Method] = {}

    def run(self, start: Iterable[str] | None = None) -> Found:
        """Search.

        Args:
            start: keys to begin with; by default all that no rule is against.
        """
        chosen = self.view.defaults() if start is None else start
        nodes = [one.key for one in self.view.of(chosen) if one.key not in self._keep_float]
        complete = True
        try:
            if not (self._choose_method(nodes) or self._tune(nodes)):
                nodes = self._give_back(nodes)
            self._add(nodes)
        except OutOfBudgetError:
            complete = False
        return self._found(complete)

    def loss(self, plan: QuantizationPlan, step: str) -> Point:
        """Evaluate any plan as it is; it becomes part of the curve, but is not among those found.

        Raises:
            OutOfBudgetError: there is no time or no evaluation left.
        """
        return self._known.loss(plan, step)

    def less(self, plan: QuantizationPlan) -> Point | None:
        """A plan without the nodes that cause half of its error, evaluated; None where no work is left in INT8.

        Raises:
            OutOfBudgetError: there is no time or no evaluation left.
        """
        leaving = to_give_back(self.rank(plan), _PART)
        nodes = [key for key in plan.nodes if key not in leaving]
        if not self.view.share(nodes):
            return None
        methods = cast("Mapping[str, Method]", plan.methods)
        return self._evaluated(self._calibration.plan(nodes, methods), f"{len(leaving)} nodes back to float")

    def rank(self, plan: QuantizationPlan) -> list[NodeError]:
        """Error of each node of a plan quantized alone, with the plan's scales; the most expensive first.

        Raises:
            OutOfBudgetError: there is no time left.
        """

        def measure(nodes: Sequence[str]) -> float:
            used = {name for one in self.view.of(nodes) for name in one.inputs}
            scales = {name: scale for name, scale in plan.scales.items() if name in used}
            return self._known.distance(msgspec.structs.replace(plan, nodes=tuple(nodes), scales=scales, bias={}))

        return rank_alone(self.view, plan.nodes, measure)

    def _choose_method(self, nodes: Sequence[str]) -> bool:
        """Settle on the method with the least loss among those with the least distance; whether the bound holds."""
        if not nodes:
            return True
        self._tell(f"comparing {len(self.limits.methods)} ways to find thresholds")
        near = sorted(
            self.limits.methods,
            key=lambda method: self._known.distance(self._calibration.plan(nodes, default=method)),
        )
        tried = []
        for method in near[:_METHODS_TRIED]:
            point = self._evaluated(self._calibration.plan(nodes, default=method), f"all by {method}")
            tried.append((point.loss, method))
            self._accept(point, self.limits.bound)
        loss, self._method = min(tried, key=lambda one: one[0])
        return loss <= self.limits.bound

    def _tune(self, nodes: Sequence[str]) -> bool:
        """Choose methods for the tensors that do most harm; whether the bound holds then."""
        self._tell(f"ranking {len(nodes)} nodes")
        self._ranking = rank_alone(self.view, nodes, self._measure)
        worst = sorted(self._ranking, key=lambda one: (-one.error, one.key))[:_TUNED]
        inputs = {one.key: one.inputs for one in self.view.candidates}
        used = self._plan(nodes).scales
        tensors = [name for name in dict.fromkeys(name for one in worst for name in inputs[one.key]) if name in used]
        self._methods = tune_methods(
            self._calibration, nodes, tensors, self.limits.methods, self._method, self._known.distance
        )
        return bool(self._methods) and self._holds(nodes, f"{len(self._methods)} thresholds found by other methods")

    def _give_back(self, nodes: list[str]) -> list[str]:
        """Give nodes back to float in rounds until the bound holds, then take back what was too much."""
        ranking: Sequence[NodeError] = self._ranking
        while True:
            leaving = to_give_back(ranking, _PART)
            rest = [key for key in nodes if key not in leaving]
            # Nothing in INT8 loses nothing, so with it, too, what was too much is taken back.
            if not rest or self._holds(rest, f"{len(leaving)} nodes back to float"):
                return self._fewest(nodes, leaving)
            nodes = rest
            self._tell(f"ranking {len(nodes)} nodes again")
            ranking = rank_within(self.view, nodes, self._measure)

    def _fewest(self, nodes: Sequence[str], leaving: Sequence[str]) -> list[str]:
        """By bisection, the fewest first ones of ``leaving`` without which the bound holds."""
        low, high = 0, len(leaving)
        while high - low > 1:
            middle = (low + high) // 2
            rest = [key for key in nodes if key not in leaving[:middle]]
            if self._holds(rest, f"{middle} of {len(leaving)} nodes back to float"):
                high = middle
            else:
                low = middle
        return [key for key in nodes if key not in leaving[:high]]

    def _add(self, nodes: Sequence[str]) -> None:
        """Try to take more nodes in, those given back and those that a rule kept out; cheapest first."""
        wanted = [
            one.key
            for one in self.view.candidates
            if one.key not in nodes
            and one.key not in self._keep_float
            and one.weighted
            and (one.default_float is None or one.default_float in self.limits.add)
        ]
        order = [one.key for one in reversed(rank_alone(self.view, wanted, self._measure))]
        low, high = 0, len(order) + 1  # it holds with the first `low` of them, not with `high`
        middle = len(order)
        while high - low > 1:
            if self._holds([*nodes, *order[:middle]], f"{middle} more nodes in INT8", _MARGIN * self.limits.bound):
                low = middle
            else:
                high = middle
            middle = (low + high) // 2

    def _found(self, complete: bool) -> Found:
        return Found(
            best=max(self._accepted, key=lambda point: (point.share, -point.loss), default=None),
            points=tuple(self._known.points),
            ranking=tuple(self._ranking),
            method=self._method,
            complete=complete,
            seconds=self._known.seconds,
        )

    def _holds(self, nodes: Sequence[str], step: str, bound: float | None = None) -> bool:
        return self._accept(self._evaluated(self._plan(nodes), step), self.limits.bound if bound is None else bound)

    def _accept(self, point: Point, bound: float) -> bool:
        if point.loss <= bound:
            self._accepted.append(point)
        return point.loss <= bound

    def _evaluated(self, plan: QuantizationPlan, step: str) -> Point:
        if self._correct is not None:
            self._known.check_time()
            plan = msgspec.structs.replace(plan, bias=dict(self._correct(plan)))
        return self._known.loss(plan, step)

    def _measure(self, nodes: Sequence[str]) -> float:
        return self._known.distance(self._plan(nodes))

    def _plan(self, nodes: Sequence[str]) -> QuantizationPlan:
        return self._calibration.plan(nodes, self._methods, self._method)
