# SPDX-License-Identifier: Apache-2.0
"""Variants of a model in which nothing says any more how many frames a batch has; whether they still compute the same
is for the caller to find out."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edged.graph.builder import OWN_PREFIX

_PREFIX = f"{OWN_PREFIX}batch/"
_SIZES = 3
"""Which input of a Resize says the new size."""


def loosened(model: onnx.ModelProto, image: str, batch: int) -> Iterator[onnx.ModelProto]:
    """Copies for any batch size, the one with the fewest changes first.

    Args:
        model: takes ``batch`` frames.
        image: name of its input.
        batch: how many frames the model is made for.
    """
    free = _declared_free(model, image, batch)
    yield free
    constants = _constants(free.graph)
    before = len(free.graph.initializer)
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(free.graph.node):
        if node.op_type == "Reshape" and len(node.input) > 1:
            _free_reshape(free.graph, node, constants.get(node.input[1]), batch, number)
        elif node.op_type == "Resize" and len(node.input) > _SIZES:
            nodes += _free_resize(free.graph, node, constants.get(node.input[_SIZES]), batch, number)
        nodes.append(node)
    if len(free.graph.initializer) > before:
        del free.graph.node[:]
        free.graph.node.extend(nodes)
        yield free


def _declared_free(model: onnx.ModelProto, image: str, batch: int) -> onnx.ModelProto:
    free = onnx.ModelProto()
    free.CopyFrom(model)
    del free.graph.value_info[:]  # these may repeat the fixed batch
    for info in (*free.graph.input, *free.graph.output):
        shape = info.type.tensor_type.shape
        if shape.dim and (info.name == image or shape.dim[0].dim_value == batch):
            shape.dim[0].dim_param = "batch"
    return free


def _constants(graph: onnx.GraphProto) -> dict[str, NDArray[np.int64]]:
    """Vectors of whole numbers by name."""
    tensors = {tensor.name: tensor for tensor in graph.initializer}
    found = {}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            tensors[node.output[0]] = node.attribute[0].t
        elif node.op_type == "Constant" and node.attribute[0].name == "value_ints":
            found[node.output[0]] = np.array(node.attribute[0].ints, np.int64)
    for name, tensor in tensors.items():
        if tensor.data_type == onnx.TensorProto.INT64 and len(tensor.dims) == 1:
            found[name] = numpy_helper.to_array(tensor)
    return found


def _free_reshape(
    graph: onnx.GraphProto, node: onnx.NodeProto, shape: NDArray[np.int64] | None, batch: int, number: int
) -> None:
    """Have the first extent of a constant shape follow from the rest, or from the input's."""
    if shape is None or not shape.size or shape[0] <= 0 or shape[0] % batch:
        return
    freed = shape.copy()
    if -1 not in shape and 0 not in shape:
        freed[0] = -1
    elif shape[0] == batch and not any(attribute.name == "allowzero" and attribute.i for attribute in node.attribute):
        freed[0] = 0  # as many as the input has
    else:
        return
    name = f"{_PREFIX}shape_{number}"
    graph.initializer.append(numpy_helper.from_array(freed, name))
    node.input[1] = name


def _free_resize(
    graph: onnx.GraphProto, node: onnx.NodeProto, sizes: NDArray[np.int64] | None, batch: int, number: int
) -> list[onnx.NodeProto]:
    """Have the first extent of a constant size be the input's; returns the nodes that compute it."""
    if sizes is None or sizes.size != 4 or sizes[0] != batch:
        return []
    stem = f"{_PREFIX}resize_{number}"
    vectors = {f"{stem}/from": [0], f"{stem}/to": [1], f"{stem}/rest": sizes[1:]}
    graph.initializer.extend(
        numpy_helper.from_array(np.array(value, np.int64), name) for name, value in vectors.items()
    )
    node.input[_SIZES] = f"{stem}/sizes"
    return [
        helper.make_node("Shape", [node.input[0]], [f"{stem}/shape"], name=f"{stem}/shape"),
        helper.make_node(
            "Slice", [f"{stem}/shape", f"{stem}/from", f"{stem}/to"], [f"{stem}/batch"], name=f"{stem}/batch"
        ),
        helper.make_node("Concat", [f"{stem}/batch", f"{stem}/rest"], [f"{stem}/sizes"], name=f"{stem}/sizes", axis=0),
    ]
