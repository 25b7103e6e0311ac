# SPDX-License-Identifier: Apache-2.0
"""How much of a comparison between two runtimes is mere rounding: the same graph with its floats kept in float16.

A quantized graph is chaotic in a small way: a value that lies between two steps of a Q node falls to one side or the
other by the last bit of the float that it was, and moves everything behind it by a step. So two correct runtimes that
round differently find boxes that differ a little; this shows by how much, on the CPU, with one runtime.
"""

from __future__ import annotations

from collections.abc import Container

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edged.engine.half import OUTPUT_STEP, QUANTIZERS

_UNTOUCHED = (*QUANTIZERS, "Constant", "Cast", "Shape")


def half_stored(model: onnx.ModelProto, kept: Container[str] = ()) -> onnx.ModelProto:
    """A copy that rounds what every float node yields to float16, and the weights of convolutions that are in float.

    The output step stays as it is, as in every engine; sums are still float32.

    Args:
        model: float32-typed, with Q/DQ nodes or without.
        kept: names of nodes that stay as they are too.
    """
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    floats = {
        info.name
        for info in onnx.shape_inference.infer_shapes(changed).graph.value_info
        if info.type.tensor_type.elem_type == TensorProto.FLOAT
    }
    constants = {tensor.name: tensor for tensor in changed.graph.initializer}
    nodes = []
    for node in map(_copied, model.graph.node):
        nodes.append(node)
        if node.op_type in _UNTOUCHED or node.name.startswith(OUTPUT_STEP) or node.name in kept:
            continue
        if node.op_type == "Conv" and node.input[1] in constants:
            _round(constants[node.input[1]])
        for place, name in enumerate(node.output):
            if name in floats:
                node.output[place], half = f"{name}/full", f"{name}/half"
                nodes.append(helper.make_node("Cast", [f"{name}/full"], [half], to=TensorProto.FLOAT16))
                nodes.append(helper.make_node("Cast", [half], [name], to=TensorProto.FLOAT))
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def _copied(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy


def _round(tensor: TensorProto) -> None:
    values = numpy_helper.to_array(tensor)
    if values.dtype == np.float32:
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16).astype(np.float32), tensor.name))
