# SPDX-License-Identifier: Apache-2.0
"""Takes the mean error of quantization out of each output channel, by the bias, which stays in float anyway.

Rounded weights shift the mean of what a convolution yields, and the shifts add up. As in M. Nagel et al., "Data-Free
Quantization Through Weight Equalization and Bias Correction" (ICCV 2019), section 4.2, the shift is subtracted, here
measured on calibration frames with the float inputs of each node, so that the shifts of nodes before it are not
corrected twice.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import onnx

from edged.engine.int8.collect import PORTION_BYTES, Batches, collect
from edged.engine.int8.graph import Links
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.run import Open
from edged.engine.int8.view import GraphView
from edged.engine.int8.write import PREFIX, write

_TWIN = f"{PREFIX}twin/"
WITH_CHANNELS = ("Conv", "ConvTranspose")
"""Operators whose bias takes a correction."""
_DIGITS = 6


class Corrector:
    """Makes the corrections of plan after plan; what one plan has in common with an earlier one is not measured again.

    Args:
        model: the prepared graph.
        view: of it.
        batches: calibration frames; some tens are plenty for a mean.
        open_graph: makes a graph ready to run.
    """

    def __init__(self, model: onnx.ModelProto, view: GraphView, batches: Batches, open_graph: Open) -> None:
        self._model = model
        self._view = view
        self._batches = batches
        self._open = open_graph
        self._known: dict[tuple[str, tuple[float, ...]], tuple[float, ...]] = {}

    def __call__(self, plan: QuantizationPlan) -> dict[str, tuple[float, ...]]:
        """Corrections for the nodes of a plan, for `QuantizationPlan.bias`."""
        asked = {
            one.key: (one.key, tuple(plan.scales[name] for name in one.inputs)) for one in self._view.of(plan.nodes)
        }
        new = tuple(key for key, name in asked.items() if name not in self._known)
        if new:
            part = msgspec.structs.replace(plan, nodes=new, bias={})
            made = bias_corrections(self._model, self._view, part, self._batches, self._open)
            self._known |= {asked[key]: made.get(key, ()) for key in new}
        return {key: self._known[name] for key, name in asked.items() if self._known[name]}


def bias_corrections(
    model: onnx.ModelProto, view: GraphView, plan: QuantizationPlan, batches: Batches, open_graph: Open
) -> dict[str, tuple[float, ...]]:
    """What to add to the output channels of every convolution of a plan.

    Args:
        model: the prepared graph.
        view: of it.
        plan: whose quantization is to be corrected.
        batches: calibration frames.
        open_graph: makes a graph ready to run.

    Returns:
        Real values for `QuantizationPlan.bias`.
    """
    links = Links(model)
    keys = [one.key for one in view.of(plan.nodes) if one.operator in WITH_CHANNELS and correctable(links, one.key)]
    pairs = {key: (links.nodes[key].output[0], f"{_TWIN}{links.nodes[key].output[0]}") for key in keys}
    nbytes = {name: view.nbytes[own] for own, twin in pairs.values() if own in view.nbytes for name in (own, twin)}
    names = [name for pair in pairs.values() for name in pair]
    twins = _with_twins(model, write(model, view, plan), keys)
    means = collect(
        twins, (), batches, open_graph, nbytes=nbytes, means=names, portion_bytes=PORTION_BYTES
    ).channel_means
    shifts = {key: (means[own] - means[twin]).tolist() for key, (own, twin) in pairs.items()}
    return {key: in_digits(values) for key, values in shifts.items()}


def in_digits(values: Iterable[float]) -> tuple[float, ...]:
    """A correction with as many digits as a plan holds."""
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)


def correctable(links: Links, key: str) -> bool:
    """Whether a node has no bias, or one that can be changed."""
    node = links.nodes[key]
    return len(node.input) < 3 or not node.input[2] or links.is_constant(node.input[2])


def _with_twins(model: onnx.ModelProto, quantized: onnx.ModelProto, keys: list[str]) -> onnx.ModelProto:
    """The float graph with a quantized twin beside each of some nodes, which reads the same float tensors."""
    written = Links(quantized)
    both = onnx.ModelProto()
    both.CopyFrom(quantized)
    del both.graph.node[:]
    both.graph.node.extend(model.graph.node)
    both.graph.node.extend(node for node in quantized.graph.node if node.name.startswith(PREFIX))
    for key in keys:
        twin = both.graph.node.add()
        twin.CopyFrom(written.nodes[key])
        twin.name = f"{_TWIN}{key}"
        twin.output[0] = f"{_TWIN}{twin.output[0]}"
    return both
