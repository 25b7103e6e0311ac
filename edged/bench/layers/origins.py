# SPDX-License-Identifier: Apache-2.0
"""Which nodes of the prepared graph a node of ONNX Runtime's optimised graph does.

Optimising renames nodes and tensors, but mostly a node that computes keeps its name up to an ending, or the tensor that
leaves a fused node keeps its own. So a node's origins are the nodes behind what it writes, back to what others write,
and no further than one convolution or product, which belongs to the first node that can have it.
"""

from __future__ import annotations

import re

import onnx

from edged.bench.layers.facts import Facts
from edged.graph.work import computes, node_key

_BLOCKED = "_nchwc"
"""Ends the names of nodes in ONNX Runtime's own layout of channels; before it stands the tensor that they write."""
_AGAIN = re.compile(r"_token_\d+$")
"""Ends a name that was taken."""


class Origins:
    """Finds them.

    Args:
        known: of the prepared graph.
        graph: ONNX Runtime's, in an order in which it can run.
    """

    def __init__(self, known: Facts, graph: onnx.GraphProto) -> None:
        self._known = known
        self._makers = {name: node for node in known.nodes.values() for name in node.output if name}
        self._order = {name: index for index, name in enumerate(known.nodes)}
        self._all = {name for node in graph.node for name in _written(node)}
        self._taken: set[str] = set()
        self._found = {node_key(node): self._origins(node) for node in graph.node}

    def nodes(self, name: str) -> tuple[str, ...]:
        """Names of the prepared graph's nodes in its order; empty where they cannot be told.

        Args:
            name: of a node of ONNX Runtime's graph.
        """
        return self._found.get(name, ())

    def _origins(self, node: onnx.NodeProto) -> tuple[str, ...]:
        found = self._behind(_written(node), computes(node.op_type))
        kept = _AGAIN.sub("", node_key(node))
        if computes(node.op_type) and kept in self._known.macs and kept not in self._taken | found:
            # Its tensors have other names now, so what was found behind them is not its own.
            found = {kept}
        self._taken |= {name for name in found if name in self._known.macs}
        return tuple(sorted(found, key=self._order.__getitem__))

    def _behind(self, own: set[str], computing: bool) -> set[str]:
        waiting, found = list(own), set[str]()
        while waiting:
            tensor = waiting.pop()
            node = self._makers.get(tensor)
            if node is None or (tensor in self._all and tensor not in own) or node_key(node) in found:
                continue
            name = node_key(node)
            counted = computes(node.op_type)
            if counted and (not computing or name in self._taken):
                continue
            found.add(name)
            waiting += [] if counted else [each for each in node.input if each]
        return found


def _written(node: onnx.NodeProto) -> set[str]:
    """Tensors that a node writes, by their names in the prepared graph."""
    if node.name.endswith(_BLOCKED):
        return {node.name.removesuffix(_BLOCKED)}
    # Back from the layout: its tensor is that of the node before it.
    return set() if node.op_type == "ReorderOutput" else {name for name in node.output if name}
