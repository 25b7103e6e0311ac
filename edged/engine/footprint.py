# SPDX-License-Identifier: Apache-2.0
"""How much memory one frame takes on its way through a graph: the estimate behind ``--max-batch auto``."""

from __future__ import annotations

import math

import onnx

from edged.graph.sizes import HeightWidth

_BYTES = 4
"""Of an element. FP16 engines need half of it; the rest is a margin for what the builder lays out otherwise."""


def activation_bytes(model: onnx.ModelProto, size: HeightWidth) -> int:
    """The most that is alive at once while one frame passes through, in bytes, each tensor kept until its last reader.

    Tensors whose shape cannot be inferred count nothing.

    Args:
        model: the prepared graph.
        size: height, width of the frame, pixels.
    """
    sizes = _tensor_bytes(model, size)
    last = {name: index for index, node in enumerate(model.graph.node) for name in node.input}
    alive, peak = 0, 0
    for index, node in enumerate(model.graph.node):
        alive += sum(sizes.get(name, 0) for name in node.output)
        peak = max(peak, alive)
        alive -= sum(sizes.get(name, 0) for name in set(node.input) if last[name] == index)
        alive -= sum(sizes.get(name, 0) for name in node.output if name not in last)
    return peak


def weight_bytes(model: onnx.ModelProto) -> int:
    """Bytes of the weights, as float32."""
    return sum(math.prod(tensor.dims) * _BYTES for tensor in model.graph.initializer)


def _tensor_bytes(model: onnx.ModelProto, size: HeightWidth) -> dict[str, int]:
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    (frames,) = fixed.graph.input
    for dim, extent in zip(frames.type.tensor_type.shape.dim, (1, *size, 3), strict=True):
        dim.dim_value = extent
    for info in fixed.graph.output:
        info.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    tensors = (*inferred.graph.value_info, *inferred.graph.output)
    return {info.name: _bytes(info) for info in tensors}


def _bytes(info: onnx.ValueInfoProto) -> int:
    shape = info.type.tensor_type.shape
    return _BYTES * math.prod(int(dim.dim_value) for dim in shape.dim)
