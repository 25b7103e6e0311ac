# SPDX-License-Identifier: Apache-2.0
"""What a search for a plan may use, and what it yields."""

from __future__ import annotations

import msgspec

from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.ranges import METHODS, Method
from edged.engine.int8.rank import NodeError
from edged.engine.int8.view import Reason


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a search may use.

    Attributes:
        bound: largest loss, in points.
        seconds: time; the measurement under way when it ends is finished.
        evaluations: how often the deciding frames may be asked.
        methods: threshold methods to choose from.
        add: nodes left in float for these reasons are tried when all else holds the bound. Predictions of a detector
            cost more than labelled frames by the hundred show, so heads are not among them unless one asks.
    """

    bound: float = 1.0
    seconds: float = 1200.0
    evaluations: int = 24
    methods: tuple[Method, ...] = METHODS
    add: frozenset[Reason] = frozenset()


class Point(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was evaluated.

    Attributes:
        step: what was tried, in words.
        share: part of the multiply-adds in INT8, 0 to 1.
        loss: in points.
        plan: the plan.
    """

    step: str
    share: float
    loss: float
    plan: QuantizationPlan


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """What a search found.

    Attributes:
        best: of the plans accepted, the one with the largest share; None if none holds the bound.
        points: every plan evaluated, in order: the curve of accuracy against INT8 work.
        ranking: error of each node quantized alone with the chosen method, where it was measured.
        method: how most thresholds are found.
        complete: False where time or evaluations ran out first.
        seconds: how long it took, without what the journal knew.
    """

    best: Point | None
    points: tuple[Point, ...]
    ranking: tuple[NodeError, ...]
    method: str
    complete: bool
    seconds: float
