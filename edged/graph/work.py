# SPDX-License-Identifier: Apache-2.0
"""How much each node of a graph computes and moves: multiply-adds, and bytes read and written.

Counts are those of the textbook algorithm (a convolution multiplies every weight of a filter for every value that it
writes), whatever kernel runs it, so that they compare between backends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

import onnx
from onnx import TensorProto

from edged.graph.sizes import HeightWidth

Shape = tuple[int, ...]

CONVOLUTIONS = {"Conv": 1, "FusedConv": 1, "NhwcFusedConv": 1, "ConvInteger": 1, "QLinearConv": 3}
"""Operators that slide filters over an image, with the place of the filters among their inputs."""
PRODUCTS = {
    "MatMul": 1,
    "FusedMatMul": 1,
    "MatMulInteger": 1,
    "MatMulIntegerToFloat": 1,
    "DynamicQuantizeMatMul": 1,
    "QLinearMatMul": 3,
    "Gemm": 1,
    "FusedGemm": 1,
    "QGemm": 3,
}
"""Operators that multiply matrices, with the place of the second matrix among their inputs."""
_TRANSPOSED = "ConvTranspose"

_BITS: dict[int, int] = {
    TensorProto.DOUBLE: 64,
    TensorProto.INT64: 64,
    TensorProto.UINT64: 64,
    TensorProto.FLOAT: 32,
    TensorProto.INT32: 32,
    TensorProto.UINT32: 32,
    TensorProto.FLOAT16: 16,
    TensorProto.BFLOAT16: 16,
    TensorProto.INT16: 16,
    TensorProto.UINT16: 16,
    TensorProto.INT4: 4,
    TensorProto.UINT4: 4,
}
_BITS_OF_OTHERS = 8  # bool, the bytes, and the 8-bit floats


class TensorShape(NamedTuple):
    """A tensor as it is at one batch size: its element type (as in ``TensorProto``) and its shape."""

    elem_type: int
    shape: Shape

    @property
    def elements(self) -> int:
        """How many values it holds."""
        return prod(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the tensor."""
        return (self.elements * _BITS.get(self.elem_type, _BITS_OF_OTHERS) + 7) // 8


def multiply_adds(model: onnx.ModelProto, batch: int, size: HeightWidth | None = None) -> dict[str, int]:
    """Multiply-adds of each convolution and matrix product (quantized forms, and ONNX Runtime's fused ones, too).

    Other nodes are absent: they have next to none. So are nodes whose shapes cannot be inferred, see `uncounted`.

    Args:
        model: a graph, for example the prepared one.
        batch: frames of a batch; binds the first dimension of every input.
        size: height, width of the frames; needed only where the graph leaves them open.

    Returns:
        Multiply-adds (half as many as floating-point operations) of a whole batch by `node_key`.
    """
    tensors = bound_tensors(model, batch, size)
    counts = {}
    for node in model.graph.node:
        count = node_multiply_adds(node.op_type, _shapes(node.input, tensors), _shapes(node.output, tensors))
        if count is not None:
            counts[node_key(node)] = count
    return counts


def uncounted(model: onnx.ModelProto, batch: int, size: HeightWidth | None = None) -> list[str]:
    """Convolutions and matrix products that `multiply_adds` leaves out because their shapes cannot be inferred."""
    counted = multiply_adds(model, batch, size)
    return [node_key(node) for node in model.graph.node if computes(node.op_type) and node_key(node) not in counted]


def node_key(node: onnx.NodeProto) -> str:
    """A node's name, or its first output's where it has none."""
    return str(node.name) or next((str(name) for name in node.output if name), "")


def computes(op_type: str) -> bool:
    """Whether multiply-adds of this operator are counted."""
    return op_type in CONVOLUTIONS or op_type in PRODUCTS or op_type == _TRANSPOSED


def filter_place(op_type: str) -> int:
    """Place of the filters or of the second matrix among a counted operator's inputs."""
    return CONVOLUTIONS.get(op_type, PRODUCTS.get(op_type, 1))


def node_multiply_adds(op_type: str, inputs: Sequence[Shape | None], outputs: Sequence[Shape | None]) -> int | None:
    """Multiply-adds of one node from the shapes of what it reads and writes, None where unknown or not counted.

    Args:
        op_type: its operator.
        inputs: shapes in the operator's order, None for one that is not known or left out.
        outputs: likewise.
    """
    place = filter_place(op_type)
    if not computes(op_type) or len(inputs) <= place or not outputs:
        return None
    data, other, made = inputs[0], inputs[place], outputs[0]
    if data is None or other is None or made is None or not (data and other):
        return None
    if op_type == _TRANSPOSED:
        # Every value that is read is multiplied by the filters of all outputs of its group.
        return prod(data) * prod(other[1:])
    if op_type in CONVOLUTIONS:
        return prod(made) * prod(other[1:])
    return prod(made) * _inner(op_type, data, other, made)


def bound_tensors(model: onnx.ModelProto, batch: int, size: HeightWidth | None = None) -> dict[str, TensorShape]:
    """All tensors of a graph whose shape is known once the batch is, by name; weights too.

    Args: as for `multiply_adds`.
    """
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    weights = _constants(fixed.graph)
    for info in fixed.graph.input:
        if info.name not in weights:
            _bind(info, batch, size)
    # What the file says of inner shapes may hold for another batch.
    del fixed.graph.value_info[:]
    for info in fixed.graph.output:
        info.type.tensor_type.ClearField("shape")
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True).graph
    found = {tensor.name: TensorShape(tensor.data_type, tuple(tensor.dims)) for tensor in inferred.initializer}
    for info in (*inferred.input, *inferred.value_info, *inferred.output):
        shape = _known(info)
        if shape is not None:
            found[info.name] = TensorShape(info.type.tensor_type.elem_type, shape)
    return found


def _bind(info: onnx.ValueInfoProto, batch: int, size: HeightWidth | None) -> None:
    dims = info.type.tensor_type.shape.dim
    if not dims:
        return
    dims[0].dim_value = batch
    if size is None or len(dims) != 4:
        return
    # Frames are [N, H, W, 3], images [N, 3, H, W].
    first = 1 if dims[3].dim_value == 3 else 2
    for dim, extent in zip(dims[first : first + 2], size, strict=True):
        if not dim.dim_value:
            dim.dim_value = extent


def _known(info: onnx.ValueInfoProto) -> Shape | None:
    kind = info.type.tensor_type
    if not kind.HasField("shape") or not all(dim.HasField("dim_value") for dim in kind.shape.dim):
        return None
    return tuple(int(dim.dim_value) for dim in kind.shape.dim)


def _shapes(names: Sequence[str], tensors: Mapping[str, TensorShape]) -> list[Shape | None]:
    return [tensors[name].shape if name in tensors else None for name in names]


def _constants(graph: onnx.GraphProto) -> set[str]:
    made = {name for node in graph.node if node.op_type == "Constant" for name in node.output}
    return made | {tensor.name for tensor in graph.initializer}


def _inner(op_type: str, first: Shape, second: Shape, made: Shape) -> int:
    """How many products each value of a matrix product sums up."""
    if op_type.endswith("Gemm"):
        return prod(first) // max(1, made[0])  # whichever way the first matrix is turned
    if op_type == "FusedMatMul" and len(first) > 1 and len(made) > 1 and first[-2] != made[-2]:
        return first[-2]  # turned
    return first[-1] if first else second[0]
