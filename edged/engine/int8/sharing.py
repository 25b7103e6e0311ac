# SPDX-License-Identifier: Apache-2.0
"""Tensors that meet in a concatenation and so should have one scale: else each would be scaled again to be joined."""

from __future__ import annotations

from collections.abc import Iterable

from edged.engine.int8.graph import Links

COPIES = (
    "Concat", "Reshape", "Flatten", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "MaxPool", "Identity",
    "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "Gather",
)  # fmt: skip
"""Operators whose outputs lie in the range of their inputs, so that they can run on INT8 values as they are."""


def shared_ranges(links: Links, tensors: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """Groups of those tensors that are copied into one concatenation."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            name = parent[name]
        return name

    def through_copies(name: str) -> str:
        while (node := links.maker(name)) is not None and node.op_type in COPIES and node.op_type != "Concat":
            name = node.input[0]
        return name

    for node in links.nodes.values():
        if node.op_type == "Concat":
            for name in links.activations(node):
                parent[root(through_copies(name))] = root(node.output[0])
    groups: dict[str, list[str]] = {}
    for name in tensors:
        source = through_copies(name)
        if source in parent:
            groups.setdefault(root(source), []).append(name)
    return tuple(tuple(group) for group in groups.values() if len(group) > 1)
