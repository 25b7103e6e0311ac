# SPDX-License-Identifier: Apache-2.0
"""The float form of a graph that holds Q/DQ nodes already: what it is held against where nothing else is there."""

from __future__ import annotations

import onnx


def float_form(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which nothing is rounded to INT8: each pair of QuantizeLinear and DequantizeLinear is taken out.

    Weights that are stored in INT8 stay as they are: nobody knows any more what they were.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    quantizers = {node.output[0]: node for node in model.graph.node if node.op_type == "QuantizeLinear"}
    instead = {
        node.output[0]: quantizers[node.input[0]].input[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in quantizers
    }

    def source(name: str) -> str:
        while name in instead:
            name = instead[name]
        return name

    outputs = {info.name for info in model.graph.output}
    kept = []
    for node in changed.graph.node:
        if node.op_type == "DequantizeLinear" and node.output[0] in instead and node.output[0] not in outputs:
            continue
        for place, name in enumerate(node.input):
            node.input[place] = source(name)
        kept.append(node)
    read = {name for node in kept for name in node.input} | outputs
    nodes = [node for node in kept if node.op_type != "QuantizeLinear" or node.output[0] in read]
    copies = [onnx.NodeProto() for _ in nodes]
    for copy, node in zip(copies, nodes, strict=True):
        copy.CopyFrom(node)
    del changed.graph.node[:]
    changed.graph.node.extend(copies)
    return changed
