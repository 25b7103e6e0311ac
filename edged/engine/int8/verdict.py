# SPDX-License-Identifier: Apache-2.0
"""What is said of a plan that somebody insists on: what it loses, where, and what would hold."""

from __future__ import annotations

import msgspec

from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.point import Found, Point
from edged.engine.int8.rank import NodeError
from edged.engine.int8.repair import Search
from edged.errors import AccuracyRefusedError

_NAMED = 5


class Culprit(msgspec.Struct, frozen=True, kw_only=True):
    """A node and its part of the loss.

    Attributes:
        key: of the node.
        why: the rule that would have kept it in float; empty where there is none.
        part: of the sum of the errors of all nodes quantized alone, 0 to 1.
    """

    key: str
    why: str
    part: float

    def __str__(self) -> str:
        return f"{self.key} ({f'{self.why}, ' if self.why else ''}{self.part:.0%})"


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether a forced plan may be used.

    Attributes:
        forced: the plan and what it loses.
        bound: most points that it may lose.
        culprits: the nodes that cause most of the error, worst first; empty where it holds.
        found: what a search found instead; None where the plan holds.
    """

    forced: Point
    bound: float
    culprits: tuple[Culprit, ...] = ()
    found: Found | None = None

    @property
    def holds(self) -> bool:
        """Whether the plan's loss is within the bound."""
        return self.forced.loss <= self.bound

    def error(self, where: str) -> AccuracyRefusedError:
        """The refusal; only for a plan that does not hold."""
        what = (
            f"INT8 as asked ({self.forced.share:.0%} of the multiply-adds) loses {self.forced.loss:.1f} points, "
            f"{self.bound:g} are allowed; most of the error comes from {', '.join(map(str, self.culprits))}"
        )
        best = None if self.found is None else self.found.best
        if best is None or not best.plan.nodes:
            return AccuracyRefusedError(what, where=where, remedy="no INT8 plan was found that holds; use fp16")
        remedy = (
            f"{best.share:.0%} of the multiply-adds in INT8 lose {best.loss:.1f} points: "
            'build with calibrator = "search" and search = true'
        )
        return AccuracyRefusedError(what, where=where, remedy=remedy)


def judge(search: Search, plan: QuantizationPlan) -> Verdict:
    """Evaluate a plan; if it does not hold, find out where it loses and search for one that does.

    Args:
        search: not run yet.
        plan: what is insisted on.

    Raises:
        OutOfBudgetError: the search's limits leave no room for it.
    """
    bound = search.limits.bound
    forced = search.loss(plan, "as asked")
    if forced.loss <= bound:
        return Verdict(forced=forced, bound=bound)
    ranking = search.rank(plan)
    return Verdict(forced=forced, bound=bound, culprits=_culprits(search, ranking), found=search.run())


def _culprits(search: Search, ranking: list[NodeError]) -> tuple[Culprit, ...]:
    total = sum(one.error for one in ranking) or 1.0
    worst = sorted(ranking, key=lambda one: (-one.error, one.key))[:_NAMED]
    why = {one.key: one.default_float or "" for one in search.view.candidates}
    return tuple(Culprit(key=one.key, why=why[one.key], part=one.error / total) for one in worst)
