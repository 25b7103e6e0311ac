# SPDX-License-Identifier: Apache-2.0
"""Writes a plan into the prepared graph as explicit Q/DQ nodes.

Symmetric, one scale for a tensor and one for each output channel of a convolution's weights; inputs only, bias in
float; one Q/DQ pair for a tensor, whoever reads it. Readers that stay in float read the tensor itself.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edged.engine.int8.graph import Links
from edged.engine.int8.plan import QuantizationPlan, scale_for
from edged.engine.int8.ranges import STEPS
from edged.engine.int8.view import Candidate, GraphView
from edged.engine.opset import changed_opset
from edged.errors import EngineError
from edged.graph.builder import OWN_PREFIX, default_opset

PREFIX = f"{OWN_PREFIX}int8/"
_FIRST_OPSET = 13
"""Q/DQ know an axis from here on."""


def write(model: onnx.ModelProto, view: GraphView, plan: QuantizationPlan) -> onnx.ModelProto:
    """The quantized graph, float32 around the Q/DQ nodes: for ONNX Runtime, and for TensorRT that chooses types itself.

    Args:
        model: the prepared graph after `raised`; not changed.
        view: of it.
        plan: made for it, see `QuantizationPlan.check`.

    Raises:
        EngineError: a bias is to be corrected that is no constant.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    writer = _Writer(changed, Links(model), plan)
    for candidate in view.of(plan.nodes):
        writer.quantize(candidate)
    writer.finish()
    return changed


def raised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph in an opset that has Q/DQ with an axis: itself where it is there already.

    To be called before anything else of this package sees the graph.

    Raises:
        EngineError: it cannot be converted.
    """
    return model if default_opset(model) >= _FIRST_OPSET else changed_opset(model, _FIRST_OPSET)


class _Writer:
    """Collects Q/DQ pairs and puts each before its first reader."""

    def __init__(self, model: onnx.ModelProto, links: Links, plan: QuantizationPlan) -> None:
        self._model = model
        self._links = links
        self._plan = plan
        self._nodes = dict(zip(links.nodes, model.graph.node, strict=True))
        self._before: dict[str, list[onnx.NodeProto]] = {}
        self._pairs: dict[tuple[str, int | None], str] = {}

    def quantize(self, candidate: Candidate) -> None:
        """Let a node read quantized tensors."""
        node = self._nodes[candidate.key]
        for name in candidate.inputs:
            scale = np.array(self._plan.scales[name], np.float32)
            rewire(node, name, self._pair(candidate.key, name, scale, None))
        if candidate.weights is not None:
            scales = weight_scales(self._weights(candidate.weights), candidate.axis)
            pair = self._pair(candidate.key, candidate.weights, scales, candidate.axis)
            rewire(node, candidate.weights, pair)
        correction = self._plan.bias.get(candidate.key)
        if correction is not None:
            self._correct(node, np.array(correction, np.float32))

    def finish(self) -> None:
        """Put all new nodes in their places."""
        nodes = [one for key, node in self._nodes.items() for one in (*self._before.get(key, ()), node)]
        kept = [copied(node) for node in nodes]
        del self._model.graph.node[:]
        self._model.graph.node.extend(kept)

    def _pair(self, key: str, name: str, scale: NDArray[np.float32], axis: int | None) -> str:
        """The dequantized tensor of a Q/DQ pair, which is made for the first who asks."""
        made = self._pairs.get((name, axis))
        if made is not None:
            return made
        stem = f"{PREFIX}{name}" if axis is None else f"{PREFIX}{name}/{axis}"
        inputs = [self._store(f"{stem}/scale", scale), self._store(f"{stem}/zero", np.zeros(scale.shape, np.int8))]
        attributes: dict[str, Any] = {"axis": axis} if scale.ndim else {}
        kinds = (("QuantizeLinear", name, f"{stem}/q"), ("DequantizeLinear", f"{stem}/q", f"{stem}/dq"))
        self._before.setdefault(key, []).extend(
            helper.make_node(kind, [value, *inputs], [result], name=result, **attributes)
            for kind, value, result in kinds
        )
        self._pairs[name, axis] = f"{stem}/dq"
        return f"{stem}/dq"

    def _correct(self, node: onnx.NodeProto, correction: NDArray[np.float32]) -> None:
        bias = correction
        if len(node.input) > 2 and node.input[2]:
            own = self._links.constant(node.input[2])
            if own is None:
                raise EngineError(f"the bias of {node.name!r} is not constant", where="quantization")
            bias = own.astype(np.float32) + correction
        name = self._store(f"{PREFIX}{node.output[0]}/bias", bias.astype(np.float32))
        del node.input[2:]
        node.input.append(name)

    def _weights(self, name: str) -> NDArray[np.float32]:
        values = self._links.constant(name)
        assert values is not None
        return values.astype(np.float32)

    def _store(self, name: str, values: NDArray[Any]) -> str:
        self._model.graph.initializer.append(numpy_helper.from_array(values, name))
        return name


def rewire(node: onnx.NodeProto, old: str, new: str) -> None:
    """Let a node read another value wherever it read the old one."""
    for place, name in enumerate(node.input):
        if name == old:
            node.input[place] = new


def copied(node: onnx.NodeProto) -> onnx.NodeProto:
    """A copy of a node."""
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def weight_scales(weights: NDArray[np.float32], axis: int | None) -> NDArray[np.float32]:
    """Scales of weights: the largest value of each entry of an axis, or of all, reaches 127.

    Args:
        weights: of any shape.
        axis: None for one scale.

    Returns:
        float32 [n] or, without an axis, a scalar; exact in float16.
    """
    others = None if axis is None else tuple(place for place in range(weights.ndim) if place != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others)
    found: NDArray[np.float32] = np.vectorize(lambda value: scale_for(float(value), STEPS), otypes=[np.float32])(
        largest
    )
    return found
