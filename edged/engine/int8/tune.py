# SPDX-License-Identifier: Apache-2.0
"""Chooses how each tensor's threshold is found, by what it does to the model's answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from edged.engine.int8.calibrate import Calibration
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.ranges import Method

_WORTH = 0.99
"""A change must bring the distance below this part of what it was; less could be chance."""


def tune_methods(
    calibration: Calibration,
    nodes: Sequence[str],
    tensors: Iterable[str],
    methods: Sequence[Method],
    default: Method,
    distance: Callable[[QuantizationPlan], float],
) -> dict[str, Method]:
    """Try every method on some tensors, one after the other, with all else as chosen so far.

    Args:
        calibration: makes the plans.
        nodes: those in INT8.
        tensors: to be tuned, most harmful first.
        methods: to choose from.
        default: of all other tensors.
        distance: of a plan from the float model.

    Returns:
        By tensor, where another method than the default is better.
    """
    chosen: dict[str, Method] = {}

    def plan(changes: Mapping[str, Method]) -> QuantizationPlan:
        return calibration.plan(nodes, {**chosen, **changes}, default)

    best = distance(plan({}))
    for tensor in tensors:
        seen = {plan({}).scales[tensor]}
        for method in methods:
            candidate = plan({tensor: method})
            if candidate.scales[tensor] in seen:
                continue
            seen.add(candidate.scales[tensor])
            found = distance(candidate)
            if found < best * _WORTH:
                best = found
                chosen[tensor] = method
    return chosen
