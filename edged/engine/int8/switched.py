# SPDX-License-Identifier: Apache-2.0
"""One graph that can be any plan: what is in INT8, scales and corrections are inputs of it.

A search runs hundreds of plans. ONNX Runtime opens a graph in a fraction of a second, TensorRT builds one in a minute:
with a graph for each plan a GPU would gain nothing. So every node that can be quantized stands there twice, reading the
tensor itself and reading it rounded, and a switch chooses. It computes what the graph of `write` computes, with the
arithmetic between the rounded values in float32.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.engine.int8.collect import exposing
from edged.engine.int8.correct import WITH_CHANNELS, correctable
from edged.engine.int8.graph import Links, integer
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.view import Candidate, GraphView
from edged.engine.int8.write import PREFIX, copied, rewire, weight_scales

MEANS = f"{PREFIX}means"
"""Output, float32 [N, M]: for each node that can be corrected the mean of each channel (axis 1) as it is in float, then
as it is with rounded inputs, whatever the switches say of that node."""
_SMALLEST, _LARGEST = -128.0, 127.0


@dataclass(frozen=True)
class Switched:
    """The graph, and what its inputs mean.

    Attributes:
        model: its inputs are ``frames`` and the parameters, all float32 and of fixed shape.
        parameters: shape of each of them by name.
        means: keys of the nodes in the output `MEANS`, in its order, and how many channels each has.
    """

    model: onnx.ModelProto
    parameters: Mapping[str, tuple[int, ...]]
    means: Mapping[str, int]

    def values(self, plan: QuantizationPlan, *, on: bool = True) -> dict[str, NDArray[np.float32]]:
        """The parameters of a plan.

        Args:
            plan: the plan.
            on: False for the float model, with the plan's scales for `MEANS`.
        """
        found = {name: np.zeros(shape, np.float32) for name, shape in self.parameters.items()}
        nodes = plan.nodes if on else ()
        given = {_switch(key): 1.0 for key in nodes}
        given |= {_scale(name): scale for name, scale in plan.scales.items()}
        for name in found:
            if name.startswith(_scale("")) and name not in given:
                found[name][...] = 1.0  # nobody reads what is rounded by it
            elif name in given:
                found[name][...] = given[name]
        for key in nodes:
            if key in plan.bias and _mean(key) in found:
                found[_mean(key)][...] = np.array(plan.bias[key], np.float32).reshape(found[_mean(key)].shape)
        return found

    def shifts(self, means: NDArray[Any]) -> dict[str, NDArray[np.float64]]:
        """Of the sum of `MEANS` over frames: by node, what is in float less what is rounded."""
        found, at = {}, 0
        for key, channels in self.means.items():
            own, twin = means[at : at + channels], means[at + channels : at + 2 * channels]
            found[key] = np.asarray(own - twin, np.float64)
            at += 2 * channels
        return found


def switched(model: onnx.ModelProto, view: GraphView, outputs: Sequence[str]) -> Switched:
    """Make the graph.

    Args:
        model: the prepared graph after `raised`; not changed.
        view: of it.
        outputs: tensors that it yields beside `MEANS`.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    writer = _Writer(changed, Links(model))
    for candidate in view.candidates:
        writer.double(candidate)
    writer.finish()
    names = [*dict.fromkeys(outputs), *([MEANS] if writer.means else [])]
    part = exposing(changed, names)
    read = {name for node in part.graph.node for name in node.input}
    inputs = [info for info in part.graph.input if info.name in read or info.name not in writer.parameters]
    kept = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for info in inputs]
    del part.graph.input[:]
    part.graph.input.extend(kept)
    return Switched(part, {name: shape for name, shape in writer.parameters.items() if name in read}, writer.means)


def _switch(key: str) -> str:
    return f"{PREFIX}on/{key}"


def _scale(tensor: str) -> str:
    return f"{PREFIX}scale/{tensor}"


def _mean(key: str) -> str:
    return f"{PREFIX}correction/{key}"


class _Writer:
    """Doubles nodes."""

    def __init__(self, model: onnx.ModelProto, links: Links) -> None:
        self.parameters: dict[str, tuple[int, ...]] = {}
        self.means: dict[str, int] = {}
        self._model = model
        self._links = links
        self._nodes = dict(zip(links.nodes, model.graph.node, strict=True))
        self._new: dict[str, list[onnx.NodeProto]] = {}
        self._rounded: dict[str, str] = {}
        self._told: list[str] = []
        for name, value in (("half", 0.5), ("smallest", _SMALLEST), ("largest", _LARGEST)):
            self._store(f"{PREFIX}{name}", np.array(value, np.float32))

    def double(self, candidate: Candidate) -> None:
        """Put a twin beside a node, and a switch behind both."""
        node = self._nodes[candidate.key]
        nodes = self._new.setdefault(candidate.key, [])
        twin = copied(node)
        twin.name = f"{PREFIX}twin/{candidate.key}"
        for name in candidate.inputs:
            rewire(twin, name, self._round(name, nodes))
        if candidate.weights is not None:
            rewire(twin, candidate.weights, self._weights(candidate.weights, candidate.axis))
        result = node.output[0]
        own, rounded = f"{PREFIX}float/{result}", f"{PREFIX}twin/{result}"
        node.output[0], twin.output[0] = own, rounded
        nodes += [node, twin]
        if candidate.operator in WITH_CHANNELS and correctable(self._links, candidate.key):
            rounded = self._corrected(candidate, own, rounded, nodes)
        switch = self._parameter(_switch(candidate.key), (1,))
        nodes.append(_node("Greater", [switch, f"{PREFIX}half"], f"{switch}/set"))
        nodes.append(_node("Where", [f"{switch}/set", rounded, own], result))

    def finish(self) -> None:
        """Put all new nodes in their places."""
        if self._told:
            self._new["means"] = [_node("Concat", self._told, MEANS, axis=1)]
        kept = [copied(one) for key, node in self._nodes.items() for one in self._new.get(key, [node])]
        kept += map(copied, self._new.get("means", []))
        del self._model.graph.node[:]
        self._model.graph.node.extend(kept)

    def _corrected(self, candidate: Candidate, own: str, rounded: str, nodes: list[onnx.NodeProto]) -> str:
        weights = self._links.constant_shape(candidate.weights or "")
        # Filters come first in a Conv; a ConvTranspose has them second, those of one group only.
        channels = weights[0] if candidate.operator == "Conv" else weights[1] * integer(nodes[-1], "group", 1)
        for name in (own, rounded):
            nodes.append(_node("GlobalAveragePool", [name], f"{name}/mean"))
            nodes.append(_node("Flatten", [f"{name}/mean"], f"{name}/row"))
            self._told.append(f"{name}/row")
        self.means[candidate.key] = channels
        correction = self._parameter(_mean(candidate.key), (1, channels, *([1] * (len(weights) - 2))))
        nodes.append(_node("Add", [rounded, correction], f"{rounded}/corrected"))
        return f"{rounded}/corrected"

    def _round(self, name: str, nodes: list[onnx.NodeProto]) -> str:
        """A tensor rounded to steps of its scale; made for the first who asks."""
        if name not in self._rounded:
            scale = self._parameter(_scale(name), (1,))
            stem = f"{PREFIX}{name}"
            nodes += [
                _node("Div", [name, scale], f"{stem}/steps"),
                _node("Round", [f"{stem}/steps"], f"{stem}/whole"),
                _node("Clip", [f"{stem}/whole", f"{PREFIX}smallest", f"{PREFIX}largest"], f"{stem}/within"),
                _node("Mul", [f"{stem}/within", scale], f"{stem}/rounded"),
            ]
            self._rounded[name] = f"{stem}/rounded"
        return self._rounded[name]

    def _weights(self, name: str, axis: int | None) -> str:
        rounded = f"{PREFIX}{name}/{axis}/rounded"
        if rounded not in self._rounded:
            values = self._links.constant(name)
            assert values is not None
            self._store(rounded, fake_quantized(values.astype(np.float32), axis))
            self._rounded[rounded] = rounded
        return rounded

    def _parameter(self, name: str, shape: tuple[int, ...]) -> str:
        self.parameters[name] = shape
        self._model.graph.input.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, shape))
        return name

    def _store(self, name: str, values: NDArray[Any]) -> None:
        self._model.graph.initializer.append(numpy_helper.from_array(values, name))


def fake_quantized(weights: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """Weights as they are once they have been through INT8, float32."""
    scales = weight_scales(weights, axis)
    if axis is not None:
        scales = scales.reshape([-1 if place == axis % weights.ndim else 1 for place in range(weights.ndim)])
    rounded: NDArray[np.float32] = np.clip(np.rint(weights / scales), _SMALLEST, _LARGEST) * scales
    return rounded.astype(np.float32)


def _node(kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, list(inputs), [output], name=output, **attributes)
