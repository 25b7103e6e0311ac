# SPDX-License-Identifier: Apache-2.0
"""A prepared graph typed for FP16, which is how strongly typed builders are told the precision.

The output step stays in float32, as everywhere: from 512 pixels on, float16 coordinates come in steps of half a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx
from onnx import TensorProto
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from edged.engine.opset import changed_opset
from edged.graph.builder import OWN_PREFIX, default_opset
from edged.graph.custom import check, is_custom

OUTPUT_STEP = f"{OWN_PREFIX}output/"
QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_HALF_SCALES = 19
"""From this opset on the scales of Q/DQ may be float16."""


def quantized(model: onnx.ModelProto) -> bool:
    """Whether a graph holds Q/DQ nodes."""
    return any(node.op_type in QUANTIZERS for node in model.graph.node)


def half_typed(model: onnx.ModelProto, half_inputs: Sequence[str] = ()) -> onnx.ModelProto:
    """A copy whose floats are float16 from the input step to the end of the model itself.

    Args:
        model: float32.
        half_inputs: inputs that become float16 themselves; all others keep their type.

    Raises:
        EngineError: its Q/DQ nodes cannot be brought to an opset with float16 scales.
    """
    if quantized(model) and default_opset(model) < _HALF_SCALES:
        model = changed_opset(model, _HALF_SCALES)
    inner = onnx.ModelProto()
    inner.CopyFrom(model)
    tail = [node for node in model.graph.node if node.name.startswith(OUTPUT_STEP)]
    if tail:
        del inner.graph.node[:]
        inner.graph.node.extend(node for node in model.graph.node if not node.name.startswith(OUTPUT_STEP))
        _cut(inner, tail)
    # Nobody says in which types a custom operator comes: in float32 they all do.
    custom = [node for node in inner.graph.node if is_custom(inner, node)]
    for number, node in enumerate(custom):
        node.name = node.name or f"{OWN_PREFIX}custom_{number}"
    blocked = [node.name for node in custom]
    kept = [info.name for info in (*inner.graph.input, *inner.graph.output) if info.name not in half_inputs]
    half: onnx.ModelProto = convert_float_to_float16(inner, keep_io_types=kept, node_block_list=blocked)
    if blocked:
        OnnxModel.graph_topological_sort(half.graph)  # the casts around them were put at the end
    if tail:
        half.graph.node.extend(tail)
        del half.graph.output[:]
        half.graph.output.extend(model.graph.output)
    have = {tensor.name for tensor in half.graph.initializer}
    half.graph.initializer.extend(tensor for tensor in _weights_of(model, tail) if tensor.name not in have)
    del half.graph.value_info[:]  # some describe what is typed otherwise now
    check(half)
    return half


def _cut(inner: onnx.ModelProto, tail: list[onnx.NodeProto]) -> None:
    """Make what the output step reads the outputs of the rest, and take the step's own constants away."""
    made = {name for node in inner.graph.node for name in node.output}
    known = {info.name: info for info in onnx.shape_inference.infer_shapes(inner).graph.value_info}
    known |= {info.name: info for info in inner.graph.output}
    read = dict.fromkeys(name for node in tail for name in node.input if name in made)
    kept = [info for info in inner.graph.output if info.name in made and info.name not in read]
    del inner.graph.output[:]
    inner.graph.output.extend([*kept, *(known[name] for name in read)])
    used = {name for node in inner.graph.node for name in node.input}
    weights = [tensor for tensor in inner.graph.initializer if tensor.name in used]
    del inner.graph.initializer[:]
    inner.graph.initializer.extend(weights)


def _weights_of(model: onnx.ModelProto, nodes: list[onnx.NodeProto]) -> list[TensorProto]:
    used = {name for node in nodes for name in node.input}
    return [tensor for tensor in model.graph.initializer if tensor.name in used]
