# SPDX-License-Identifier: Apache-2.0
"""How much of a graph's work is done in INT8, read off a graph that holds Q/DQ nodes already."""

from __future__ import annotations

import onnx

from edged.engine.int8.graph import Links
from edged.graph.sizes import HeightWidth
from edged.graph.work import bound_tensors, filter_place, node_multiply_adds


def int8_share(model: onnx.ModelProto, size: HeightWidth | None = None) -> float:
    """Part of the multiply-adds whose both factors come out of DequantizeLinear, 0 to 1.

    Args:
        model: with or without Q/DQ nodes, whoever put them there.
        size: height, width of the frames, where the graph leaves them open.
    """
    links = Links(model)
    shapes = {name: tensor.shape for name, tensor in bound_tensors(model, 1, size).items()}
    total = quantized = 0
    for node in links.nodes.values():
        macs = node_multiply_adds(
            node.op_type, [shapes.get(name) for name in node.input], [shapes.get(name) for name in node.output]
        )
        if macs is None:
            continue
        total += macs
        makers = [links.maker(node.input[place]) for place in (0, filter_place(node.op_type))]
        if all(maker is not None and maker.op_type == "DequantizeLinear" for maker in makers):
            quantized += macs
    return quantized / total if total else 0.0
