# SPDX-License-Identifier: Apache-2.0
"""Bringing a graph to the opset that a parser takes, without changing what it computes."""

from __future__ import annotations

import re
from collections.abc import Iterator

import onnx

from edged.errors import EngineError
from edged.graph.builder import default_opset
from edged.graph.checks import first_line
from edged.graph.custom import check

_DEFAULT_DOMAINS = ("", "ai.onnx")
_ASIDE = "edged.aside"
"""Domain of nodes that the converter is not to look at."""
_SPLIT_COUNTS = 18
"""From this opset on a Split says into how many parts; before, it counts its outputs."""
_REFUSED = re.compile(r"(?:No Adapter .* for|No Previous Version of) (\w+)")


def changed_opset(model: onnx.ModelProto, target: int) -> onnx.ModelProto:
    """A copy in another opset; whether it computes the same is for the caller to see.

    Raises:
        EngineError: an operator has no counterpart there.
    """
    opset = default_opset(model)
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    if target < opset:
        for node in nodes(changed.graph):
            _without_defaults(node, target)
    newer = sorted({node.op_type for node in nodes(model.graph) if _since(node, opset) > min(opset, target)})
    if target < opset and not newer:
        # Every operator means the same in both: only the number has to change.
        for entry in changed.opset_import:
            if entry.domain in _DEFAULT_DOMAINS:
                entry.version = target
    else:
        changed = _converted(changed, opset, target, newer)
    try:
        check(changed)
    except onnx.checker.ValidationError as error:
        raise _refusal(opset, target, _named(newer, error), first_line(error)) from error
    return changed


def _converted(model: onnx.ModelProto, opset: int, target: int, newer: list[str]) -> onnx.ModelProto:
    """A model converted by ONNX's converter, past the operators that it refuses though both opsets have them.

    It knows no way back for some operators of which only the types or an optional input changed (Pad, Split, …). These
    are kept as they are, and the caller sees whether they still mean the same. Only downwards: there the caller looks.
    """
    aside: list[str] = []
    while True:
        for node in nodes(model.graph):
            if node.op_type in aside and node.domain in _DEFAULT_DOMAINS:
                node.domain = _ASIDE
        try:
            changed: onnx.ModelProto = onnx.version_converter.convert_version(model, target)
            break
        except (RuntimeError, onnx.version_converter.ConvertError) as error:
            named = _REFUSED.search(str(error))
            operator = named.group(1) if named else ""
            if operator in aside or target > opset or not _exists(operator, target):
                raise _refusal(opset, target, [operator] if operator else _named(newer, error), "") from error
            if not aside:
                model.opset_import.append(onnx.helper.make_opsetid(_ASIDE, 1))
            aside.append(operator)
    for node in nodes(changed.graph):
        if node.domain == _ASIDE:
            node.domain = ""
            _without_newer_words(node, target)
    kept = [entry for entry in changed.opset_import if entry.domain != _ASIDE]
    del changed.opset_import[:]
    changed.opset_import.extend(kept)
    return changed


def _without_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Drop attributes that an older opset does not know and that say nothing: PyTorch writes them out."""
    if node.domain not in _DEFAULT_DOMAINS or not _exists(node.op_type, opset):
        return
    known = onnx.defs.get_schema(node.op_type, opset).attributes
    words = [
        attribute
        for attribute in node.attribute
        if attribute.name in known or attribute.type != onnx.AttributeProto.INT or attribute.i != 0
    ]
    if len(words) < len(node.attribute):
        del node.attribute[:]
        node.attribute.extend(words)


def _without_newer_words(node: onnx.NodeProto, opset: int) -> None:
    """Drop what an older opset has no word for and says by default."""
    if node.op_type == "Split" and opset < _SPLIT_COUNTS:
        words = [attribute for attribute in node.attribute if attribute.name != "num_outputs"]
        del node.attribute[:]
        node.attribute.extend(words)


def _refusal(opset: int, target: int, newer: list[str], reason: str) -> EngineError:
    operators = ", ".join(newer)
    because = f": {operators} {'means' if len(newer) == 1 else 'mean'} something else there" if operators else ""
    because = f"{because} ({reason})" if reason else because
    return EngineError(
        f"the graph has opset {opset} and cannot be converted to {target}, which the builder takes{because}",
        where="the prepared graph",
        remedy=f"export the model again with opset {target}, or install another TensorRT",
    )


def _named(operators: list[str], error: Exception) -> list[str]:
    """The operators of which an error speaks, all of them where it speaks of none."""
    words = set(re.findall(r"\w+", str(error)))
    return [operator for operator in operators if operator in words] or operators


def _exists(operator: str, opset: int) -> bool:
    try:
        onnx.defs.get_schema(operator, opset)
    except onnx.defs.SchemaError:
        return False
    return True


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
