# SPDX-License-Identifier: Apache-2.0
"""Adds nodes to an ONNX graph: the vocabulary in which the input step and the output steps are written.

Only operators of the default domain are offered, and only forms that ONNX Runtime and TensorRT 8.6 to 11 both take.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from edged.errors import DecoderError
from edged.model import ModelSpec
from edged.records import TensorSpec

FRAMES = "frames"
"""Name of the prepared graph's only input, uint8 [N, H, W, 3] in BGR order."""
OWN_PREFIX = "edged/"
"""Every node and inner tensor that edged adds starts with this, so that a quantizer can leave them alone."""

Dimension = int | str


def default_opset(model: onnx.ModelProto) -> int:
    """Version of the default operator set that the model imports; 0 when it imports none."""
    return max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)


class GraphBuilder:
    """Collects new nodes, then puts them before or after a model's own.

    Values are tensor names. Every method that computes something returns the name of its result.

    Args:
        model: changed in place by :meth:`prepend`, :meth:`append`, :meth:`constant` and :meth:`output`.
        part: distinguishes the names of two builders on one model.
        batch: first dimension of what is declared: a name, or a number where the batch is fixed.
    """

    def __init__(self, model: onnx.ModelProto, part: str, batch: Dimension = "batch") -> None:
        self.opset = default_opset(model)
        self.batch = batch
        self._graph = model.graph
        self._prefix = f"{OWN_PREFIX}{part}/"
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}

    def constant(self, values: NDArray[Any]) -> str:
        """A constant tensor; equal ones are stored once."""
        key = (values.dtype.str, values.shape, values.tobytes())
        if key not in self._constants:
            name = f"{self._prefix}constant_{len(self._constants)}"
            self._graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
            self._constants[key] = name
        return self._constants[key]

    def ints(self, *values: int) -> str:
        """A constant int64 vector."""
        return self.constant(np.array(values, np.int64))

    def floats(self, *values: float) -> str:
        """A constant float32 vector."""
        return self.constant(np.array(values, np.float32))

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.ops(kind, inputs, 1, **attributes)[0]

    def ops(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> list[str]:
        """A node with several outputs."""
        stem = f"{self._prefix}{kind}_{len(self._nodes)}"
        names = [stem if index == 0 else f"{stem}_{index}" for index in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), names, name=stem, **attributes))
        return names

    def cast(self, value: str, dtype: str) -> str:
        """Convert to a numpy dtype."""
        return self.op("Cast", value, to=int(helper.np_dtype_to_tensor_dtype(np.dtype(dtype))))

    def float32(self, value: str, dtype: str) -> str:
        """The value as float32; no node where it is that already."""
        return value if dtype == "float32" else self.cast(value, "float32")

    def slice(self, value: str, start: int, stop: int, axis: int) -> str:
        """``value[start:stop]`` along one axis."""
        return self.op("Slice", value, self.ints(start), self.ints(stop), self.ints(axis))

    def squeeze(self, value: str, axis: int) -> str:
        """Drop an axis of length 1."""
        return self.op("Squeeze", value, self.ints(axis))

    def unsqueeze(self, value: str, axis: int) -> str:
        """Insert an axis of length 1."""
        return self.op("Unsqueeze", value, self.ints(axis))

    def reduce_max(self, value: str, axis: int) -> str:
        """Largest value along an axis, which disappears."""
        if self.opset >= 18:  # the axes became an input there
            return self.op("ReduceMax", value, self.ints(axis), keepdims=0)
        return self.op("ReduceMax", value, axes=[axis], keepdims=0)

    def output(self, value: str, spec: TensorSpec) -> None:
        """Declare a value as an output of the graph, under the name, dtype and shape of ``spec``.

        Raises:
            DecoderError: the name is taken.
        """
        if spec.name in used_names(self._graph) or spec.name == FRAMES:
            raise DecoderError(f"the decoder names an output {spec.name!r}, which the model uses already")
        self.declare(spec)
        self.rename(value, spec.name)

    def declare(self, spec: TensorSpec) -> None:
        """Declare a value that already has the name of ``spec`` as an output of the graph."""
        shape: list[Dimension] = [self.batch, *spec.shape]
        if not spec.fixed:
            shape = [self.batch, *(f"{spec.name}_{axis}" for axis in range(len(spec.shape)))]
        dtype = int(helper.np_dtype_to_tensor_dtype(np.dtype(spec.dtype)))
        self._graph.output.append(helper.make_tensor_value_info(spec.name, dtype, shape))

    def rename(self, value: str, name: str) -> None:
        """Give one of this builder's values another name; a value of the model itself is copied to the new name."""
        if not any(value in node.output for node in self._nodes):
            value = self.op("Identity", value)
        for node in self._nodes:
            _replace(node.input, value, name)
            _replace(node.output, value, name)

    def prepend(self) -> None:
        """Put the collected nodes before the model's own."""
        own = list(self._graph.node)
        del self._graph.node[:]
        self._graph.node.extend([*self._nodes, *own])

    def append(self) -> None:
        """Put the collected nodes after the model's own."""
        self._graph.node.extend(self._nodes)


def used_names(graph: onnx.GraphProto) -> set[str]:
    """Every tensor name of a graph, without those inside subgraphs."""
    names = {info.name for info in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        names.update(node.input)
        names.update(node.output)
    return names


def reserve_names(model: onnx.ModelProto, spec: ModelSpec) -> onnx.ModelProto:
    """Make sure that no name edged is going to add is taken: the model's own names get a prefix where one is."""
    reserved = {FRAMES} if spec.task == "raw" else {FRAMES, "detections", "classes", "mask"}
    names: Iterable[str] = used_names(model.graph) | {node.name for node in model.graph.node}
    if any(name in reserved or name.startswith(OWN_PREFIX) for name in names):
        return onnx.compose.add_prefix(model, "model/")
    return model


def _replace(names: Any, old: str, new: str) -> None:
    for index, name in enumerate(names):
        if name == old:
            names[index] = new
