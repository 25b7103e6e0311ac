# SPDX-License-Identifier: Apache-2.0
"""Which ONNX nodes a layer of TensorRT does.

From version 8.6 on a detailed engine says so in each layer's metadata. Else the name tells: ``conv1 + relu1`` (fused),
``conv1 || conv2`` (side by side), ``PWN(PWN(sigmoid1), mul1)`` (pointwise), ``{ForeignNode[first...last]}`` (a region
given to another compiler; here taken as what lies between the two in the graph and belongs to no other layer).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from edged.bench.layers.inspector import Inspected, bare_name

_REGION = re.compile(r"\{ForeignNode\[(.*?)\.\.\.(.*?)\]\}")
_JOINTS = re.compile(r" \+ | \|\| ")
_POINTWISE = re.compile(r"PWN\(|, |\)")


def nodes_of(layers: Sequence[Inspected], graph: Sequence[str]) -> list[tuple[str, ...]]:
    """The nodes of each layer.

    Args:
        layers: of the engine.
        graph: names of the ONNX graph's nodes in their order.
    """
    place = {name: index for index, name in enumerate(graph)}
    found = [_named(layer, place) for layer in layers]
    taken = {name for nodes in found for name in nodes}
    for index, layer in enumerate(layers):
        region = _REGION.search(layer.name)
        if region and not layer.nodes and not layer.reformats:
            inside = [name for name in _between(region, graph, place) if name not in taken]
            found[index] = tuple(dict.fromkeys((*found[index], *inside)))
            taken.update(inside)
    return found


def _named(layer: Inspected, place: dict[str, int]) -> tuple[str, ...]:
    told = layer.nodes
    if not told and not layer.reformats:
        bare = bare_name(layer.name)
        pieces = [bare] if bare in place else _JOINTS.split(bare)
        told = tuple(part for piece in pieces for part in _parts(piece.strip(), place))
    return tuple(name for name in dict.fromkeys(told) if name in place)


def _parts(piece: str, place: dict[str, int]) -> list[str]:
    if piece in place:
        return [piece]
    return [part.strip() for part in _POINTWISE.split(piece) if part.strip()] if piece.startswith("PWN(") else []


def _between(region: re.Match[str], graph: Sequence[str], place: dict[str, int]) -> Sequence[str]:
    ends = [_end(text, place) for text in region.groups()]
    known = [end for end in ends if end is not None]
    return graph[min(known) : max(known) + 1] if known else []


def _end(text: str, place: dict[str, int]) -> int | None:
    return next((place[part] for part in _JOINTS.split(text) if part in place), None)
