# SPDX-License-Identifier: Apache-2.0
"""Bringing a graph to the opset that a parser takes, without changing what it computes."""

from __future__ import annotations

from collections.abc import Iterator

import onnx

from edged.errors import EngineError
from edged.graph.builder import default_opset
from edged.graph.checks import first_line

_DEFAULT_DOMAINS = ("", "ai.onnx")


def changed_opset(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """A copy in another opset; whether it computes the same is for the caller to see.

    Raises:
        EngineError: an operator has no counterpart there.
    """
    opset = default_opset(model)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    newer = sorted({node.op_type for node in nodes(model.graph) if _since(node, opset) > min(opset, target)})
    if target < opset and not newer:
        # Every operator means the same in both: only the number has to change.
        for entry in changed.opset_import:
            if entry.domain in _DEFAULT_DOMAINS:
                entry.version = target
    else:
        try:
            changed = onnx.version_converter.convert_version(changed, target)
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            raise _refusal(opset, target, newer, "") from error
    try:
        onnx.checker.check_model(changed)
    except onnx.checker.ValidationError as error:
        raise _refusal(opset, target, newer, first_line(error)) from error
    return changed


def _refusal(opset: int, target: int, newer: list[str], reason: str) -> EngineError:
    operators = ", ".join(newer)
    because = f": {operators} mean something else there" if operators else ""
    because = f"{because} ({reason})" if reason else because
    return EngineError(
        f"the graph has opset {opset} and cannot be converted to {target}, which the builder takes{because}",
        where="the prepared graph",
        remedy=f"export the model again with opset {target}, or install another TensorRT",
    )


def _since(node: onnx.NodeProto, opset: int) -> int:
    """The opset since which a node's operator means what it means in ``opset``; 0 for custom ones."""
    if node.domain not in _DEFAULT_DOMAINS:
        return 0
    try:
        return int(onnx.defs.get_schema(node.op_type, opset).since_version)
    except onnx.defs.SchemaError:
        return 0


def nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """Every node of a graph, those of its subgraphs too."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            for inner in (attribute.g, *attribute.graphs):
                yield from nodes(inner)
