# SPDX-License-Identifier: Apache-2.0
"""What an ONNX graph says of its nodes, for layers that only name them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx

from edged.bench.layers.records import Weighted
from edged.graph.work import (
    CONVOLUTIONS,
    TensorShape,
    bound_tensors,
    computes,
    filter_place,
    node_key,
    node_multiply_adds,
)

Shapes = Sequence[tuple[int, ...] | None]


@dataclass(frozen=True)
class Facts:
    """Of one graph at one batch size.

    Attributes:
        nodes: by name, in the order of the graph.
        macs: multiply-adds of the nodes that have some.
        weighted: what decides on INT8, of the same nodes.
        tensors: shapes that are known.
        uncounted: convolutions and products whose shapes are not.
        outputs: of the graph.
    """

    nodes: dict[str, onnx.NodeProto]
    macs: dict[str, int]
    weighted: dict[str, Weighted]
    tensors: dict[str, TensorShape]
    uncounted: tuple[str, ...]
    outputs: frozenset[str]

    def operators(self, nodes: Sequence[str]) -> tuple[str, ...]:
        """Operators of nodes."""
        return tuple(self.nodes[name].op_type for name in nodes)

    def moved(self, nodes: Sequence[str]) -> tuple[int, int] | None:
        """Bytes and elements that pass in and out of nodes that run as one, weights too; None where unknown.

        Bytes are those of the graph's types, which an engine may have narrowed.
        """
        inside = [self.nodes[name] for name in nodes]
        made = {name for node in inside for name in node.output if name}
        read = {name for node in inside for name in node.input if name} - made
        leaving = {name for name in made if name in self.outputs or self._read_elsewhere(name, set(nodes))}
        passing = [self.tensors.get(name) for name in (*read, *leaving)]
        if not inside or any(tensor is None for tensor in passing):
            return None
        sizes = [tensor.nbytes for tensor in passing if tensor is not None]
        return sum(sizes), sum(tensor.elements for tensor in passing if tensor is not None)

    def _read_elsewhere(self, tensor: str, inside: set[str]) -> bool:
        return any(tensor in node.input for name, node in self.nodes.items() if name not in inside)


def facts(model: onnx.ModelProto, shape: tuple[int, ...]) -> Facts:
    """Look at a graph.

    Args:
        model: the prepared graph that an engine was made from.
        shape: of the batch of frames, [N, H, W, 3].
    """
    tensors = bound_tensors(model, shape[0], (shape[1], shape[2]))
    macs: dict[str, int] = {}
    found: dict[str, Weighted] = {}
    uncounted = []
    for node in model.graph.node:
        if not computes(node.op_type):
            continue
        key = node_key(node)
        inputs, outputs = (
            [tensors[name].shape if name in tensors else None for name in names] for names in (node.input, node.output)
        )
        count = node_multiply_adds(node.op_type, inputs, outputs)
        decides = weighted(node.op_type, inputs, outputs, first=not found)
        if count is None or decides is None:
            uncounted.append(key)
        else:
            macs[key], found[key] = count, decides
    names = {node_key(node): node for node in model.graph.node}
    outputs_of = frozenset(info.name for info in model.graph.output)
    return Facts(names, macs, found, tensors, tuple(uncounted), outputs_of)


def weighted(op_type: str, inputs: Shapes, outputs: Shapes, *, first: bool) -> Weighted | None:
    """What decides on INT8, from a node's shapes; None where the node has no multiply-adds or shapes are missing.

    Args:
        op_type: its operator.
        inputs: shapes of its inputs, as in `edged.graph.work.node_multiply_adds`.
        outputs: likewise.
        first: whether no other such node comes before it.
    """
    place = filter_place(op_type)
    if not computes(op_type) or len(inputs) <= place or not outputs:
        return None
    data, other, made = inputs[0], inputs[place], outputs[0]
    if not data or not other or not made:
        return None
    if op_type in CONVOLUTIONS or op_type == "ConvTranspose":
        if len(data) < 3 or len(other) < 3 or len(made) < 2:
            return None
        kernel = other[2:]
        # A transposed convolution's filters begin with the channels that it reads.
        each = other[1] if op_type in CONVOLUTIONS else other[0]
        groups = max(1, data[1] // max(1, each)) if op_type in CONVOLUTIONS else max(1, made[1] // max(1, other[1]))
        return Weighted("conv", data[1], made[1], groups, (min(kernel), max(kernel)), first=first)
    rows = made[-2] if len(made) > 1 else 1
    inner = other[-2] if len(other) > 1 and other[-1] == made[-1] else other[-1]
    return Weighted("product", inner, made[-1], rows=rows, first=first)
