# SPDX-License-Identifier: Apache-2.0
"""Which nodes cause how much of the error at the output: measured, one node at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from edged.engine.int8.view import GraphView

Measure = Callable[[Sequence[str]], float]
"""Distance of the model that has these nodes (keys) in INT8, see `distance.Meter`."""


class NodeError(NamedTuple):
    """What quantizing one node does.

    Attributes:
        key: of the node.
        error: the squared distance that it adds.
        work: what is gained by it: multiply-adds, for pools and additions the values they read.
    """

    key: str
    error: float
    work: int

    @property
    def price(self) -> float:
        """Error for the work done in INT8."""
        return self.error / self.work


def rank_alone(view: GraphView, keys: Iterable[str], measure: Measure) -> list[NodeError]:
    """Each node quantized alone, all others in float; the most expensive first.

    An addition is measured together with its convolution, whose error is then taken off.
    """
    found = []
    for one in view.of(keys):
        if one.follows is None:
            error = measure((one.key,)) ** 2
        else:
            error = max(measure((one.follows, one.key)) ** 2 - measure((one.follows,)) ** 2, 0.0)
        found.append(NodeError(one.key, error, _work(view, one.key)))
    return _sorted(found)


def rank_within(
    view: GraphView, nodes: Sequence[str], measure: Measure, only: Iterable[str] | None = None
) -> list[NodeError]:
    """By how much the error of a plan falls when a node goes back to float; the most expensive first.

    Args:
        view: of the graph.
        nodes: the plan's.
        measure: distance of a plan.
        only: nodes to look at; all by default.
    """
    whole = measure(nodes) ** 2
    found = []
    for one in view.of(nodes if only is None else set(only) & set(nodes)):
        rest = [key for key in nodes if key != one.key]
        found.append(NodeError(one.key, max(whole - measure(rest) ** 2, 0.0), _work(view, one.key)))
    return _sorted(found)


def to_give_back(ranking: Sequence[NodeError], part: float) -> list[str]:
    """The fewest of the most expensive nodes that cause ``part`` of all the error; at least one if there is any.

    Nodes with next to no error are not among them, however little work they do.
    """
    total = sum(one.error for one in ranking)
    negligible = total / (20 * len(ranking)) if ranking else 0.0
    chosen: list[str] = []
    removed = 0.0
    for one in ranking:
        if removed >= part * total and chosen:
            break
        if one.error >= negligible:
            chosen.append(one.key)
            removed += one.error
    return chosen or [one.key for one in ranking[:1]]


def _work(view: GraphView, key: str) -> int:
    (one,) = view.of((key,))
    return max(one.macs or one.elements, 1)


def _sorted(errors: Iterable[NodeError]) -> list[NodeError]:
    return sorted(errors, key=lambda one: (-one.price, one.key))
