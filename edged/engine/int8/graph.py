# SPDX-License-Identifier: Apache-2.0
"""Who makes and who reads each tensor of a graph, which of them are constants, and unique names for nodes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edged.graph.builder import OWN_PREFIX
from edged.graph.work import node_key

OUTPUT_STEP = f"{OWN_PREFIX}output/"
INPUT_STEP = f"{OWN_PREFIX}input/"


class Links:
    """An index over a graph, which must not change while it is used.

    Args:
        model: its main graph is indexed; subgraphs count only as readers.

    Attributes:
        nodes: all nodes by key, in the graph's order.
        makers: key of the node that makes a tensor, by the tensor's name.
        readers: keys of the nodes that read a tensor, in the graph's order.
        outputs: names of the graph's outputs.
    """

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        keys = unique_keys(graph)
        self.nodes: dict[str, onnx.NodeProto] = dict(zip(keys, graph.node, strict=True))
        self.makers: dict[str, str] = {}
        self.readers: dict[str, list[str]] = {}
        self.outputs = [info.name for info in graph.output]
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        for key, node in self.nodes.items():
            for name in dict.fromkeys(_read(node)):
                self.readers.setdefault(name, []).append(key)
            for name in filter(None, node.output):
                self.makers[name] = key
            if node.op_type == "Constant":
                value = attribute(node, "value")
                if value is not None:
                    self._constants[node.output[0]] = value

    def is_constant(self, name: str) -> bool:
        """Whether a tensor is stored in the file."""
        return name in self._constants

    def constant(self, name: str) -> NDArray[np.generic] | None:
        """Value of a constant tensor; None for any other."""
        tensor = self._constants.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def constant_shape(self, name: str) -> tuple[int, ...]:
        """Shape of a constant tensor."""
        return tuple(self._constants[name].dims)

    def constant_type(self, name: str) -> int | None:
        """Element type of a constant tensor, as in ``TensorProto``; None for any other."""
        tensor = self._constants.get(name)
        return None if tensor is None else tensor.data_type

    def activations(self, node: onnx.NodeProto) -> list[str]:
        """What a node reads that is no constant."""
        return [name for name in node.input if name and name not in self._constants]

    def maker(self, name: str) -> onnx.NodeProto | None:
        """The node that makes a tensor; None for inputs and constants."""
        key = self.makers.get(name)
        return None if key is None else self.nodes[key]

    def raw_outputs(self) -> list[str]:
        """What the model itself yields: the tensors that the output step reads, else the graph's outputs."""
        step = {key for key, node in self.nodes.items() if node.name.startswith(OUTPUT_STEP)}
        read = dict.fromkeys(
            name
            for key in step
            for name in self.activations(self.nodes[key])
            if name in self.makers and self.makers[name] not in step
        )
        own = [name for name in self.outputs if self.makers.get(name) not in step]
        return list(dict.fromkeys([*read, *own]))


def unique_keys(graph: onnx.GraphProto) -> list[str]:
    """A key for each node: its name, or its first output's where it has none of its own."""
    counts = Counter(node_key(node) for node in graph.node)
    return [node_key(node) if counts[node_key(node)] == 1 else _output_key(node) for node in graph.node]


def attribute(node: onnx.NodeProto, name: str) -> object:
    """Value of a node's attribute; None where it has none of that name."""
    for entry in node.attribute:
        if entry.name == name:
            value: object = onnx.helper.get_attribute_value(entry)
            return value
    return None


def integer(node: onnx.NodeProto, name: str, default: int) -> int:
    """Value of a whole-number attribute."""
    value = attribute(node, name)
    return value if isinstance(value, int) else default


def _output_key(node: onnx.NodeProto) -> str:
    return next((str(name) for name in node.output if name), node_key(node))


def _read(node: onnx.NodeProto) -> Iterator[str]:
    yield from filter(None, node.input)
    for entry in node.attribute:
        for inner in (entry.g, *entry.graphs):
            for child in inner.node:
                yield from _read(child)
