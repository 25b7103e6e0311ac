# SPDX-License-Identifier: Apache-2.0
"""Operators that ONNX does not define, and which libraries of the user bring to a runtime."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

import onnx
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edged.graph.builder import default_opset

_DEFAULT_DOMAINS = ("", "ai.onnx")
_STAND_IN = "edged.custom"
"""Domain of the copies of custom nodes that the checker sees: of one that it does not know it checks the form only."""
_NOT_ITS_OWN = (ort_state.Fail, ort_state.InvalidArgument, ort_state.RuntimeException)


def custom_operators(model: onnx.ModelProto) -> dict[str, int]:
    """Operators of a graph that neither ONNX nor a function of the model defines, with how many nodes have each."""
    return dict(Counter(node.op_type for node in _custom_nodes(model, model.graph)))


def is_custom(model: onnx.ModelProto, node: onnx.NodeProto) -> bool:
    """Whether neither ONNX nor a function of the model defines a node's operator."""
    if any((function.domain, function.name) == (node.domain, node.op_type) for function in model.functions):
        return False
    if node.domain in _DEFAULT_DOMAINS:
        try:
            onnx.defs.get_schema(node.op_type, default_opset(model))
        except onnx.defs.SchemaError:
            return True
        return False
    return not onnx.defs.has(node.op_type, node.domain)


def check(model: onnx.ModelProto) -> None:
    """ONNX's check of a graph, in which custom nodes may be anything.

    Raises:
        onnx.checker.ValidationError: it is not valid.
    """
    if not custom_operators(model):
        onnx.checker.check_model(model)
        return
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for node in _custom_nodes(model, copy.graph):
        node.domain = _STAND_IN
    copy.opset_import.append(onnx.helper.make_opsetid(_STAND_IN, 1))
    onnx.checker.check_model(copy)


def register(options: onnxruntime.SessionOptions, libraries: Sequence[str]) -> list[str]:
    """Have ONNX Runtime take its operators from some libraries; returns those that hold none for it.

    A library for TensorRT is one of these: it is TensorRT that will load it.
    """
    others = []
    for library in libraries:
        try:
            options.register_custom_ops_library(library)
        except _NOT_ITS_OWN:
            others.append(library)
    return others


def _custom_nodes(model: onnx.ModelProto, graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    for node in graph.node:
        if is_custom(model, node):
            yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from _custom_nodes(model, inner)
