# SPDX-License-Identifier: Apache-2.0
"""Which nodes of a graph can compute in INT8, what they read, and which of them should rather not.

The rules are those under which TensorRT has INT8 kernels that are worth it (`default_float` names the reason where one
is against it) and the way in which it fuses: only inputs are quantized, of an addition only the branch that skips.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import prod
from typing import Literal

import onnx

from edged.engine.int8.graph import INPUT_STEP, OUTPUT_STEP, Links, integer
from edged.engine.int8.sharing import shared_ranges
from edged.graph.sizes import HeightWidth
from edged.graph.work import TensorShape, bound_tensors, node_multiply_adds

Reason = Literal["depthwise", "few channels", "head", "work unknown"]
"""Why a node stays in float unless one asks for it."""

WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
POOLS = ("AveragePool", "GlobalAveragePool")
MIN_CHANNELS = 16
"""Below it INT8 kernels pad more than they compute."""
_CHANNEL_STEP = 8
_GROUP_STEP = 4


@dataclass(frozen=True, slots=True)
class Candidate:
    """A node that can compute in INT8.

    Attributes:
        key: the node's key, see `graph.unique_keys`.
        operator: its type.
        inputs: the tensors that it would read quantized.
        weights: its constant filters or matrix; None for pools and additions.
        axis: axis of the weights that has a scale for each entry; None: one scale for all.
        macs: multiply-adds for one frame; 0 for pools and additions.
        elements: values that the quantized inputs hold for one frame; 0 where unknown.
        default_float: why it stays in float unless one asks for it; None if nothing is against INT8.
        follows: key of the convolution that takes an addition into its kernel: without it in INT8 there is no point.
    """

    key: str
    operator: str
    inputs: tuple[str, ...]
    weights: str | None
    axis: int | None
    macs: int
    elements: int
    default_float: Reason | None
    follows: str | None = None

    @property
    def weighted(self) -> bool:
        """Whether it multiplies by constants: what the share of INT8 work counts."""
        return self.weights is not None


@dataclass(frozen=True, slots=True)
class GraphView:
    """What can be quantized in a graph.

    Attributes:
        candidates: in the graph's order.
        shared: groups of tensors that meet in concatenations and so should have one scale.
        total_macs: multiply-adds of the whole graph for one frame.
        nbytes: bytes of each computed tensor for one frame, as float32, where the shape is known.
        raw_outputs: what the model itself yields, before edged's output step.
    """

    candidates: tuple[Candidate, ...]
    shared: tuple[tuple[str, ...], ...]
    total_macs: int
    nbytes: dict[str, int]
    raw_outputs: tuple[str, ...]

    @property
    def tensors(self) -> tuple[str, ...]:
        """Every tensor that a candidate would read quantized, in the graph's order."""
        return tuple(dict.fromkeys(name for one in self.candidates for name in one.inputs))

    def of(self, keys: Iterable[str]) -> list[Candidate]:
        """The candidates of some keys, in the graph's order."""
        wanted = frozenset(keys)
        return [one for one in self.candidates if one.key in wanted]

    def defaults(self) -> tuple[str, ...]:
        """Keys of all candidates that nothing is against."""
        return tuple(one.key for one in self.candidates if one.default_float is None)

    def matching(self, globs: Iterable[str]) -> tuple[str, ...]:
        """Keys that match one of some shell patterns (``keep_float`` of the settings), in the graph's order."""
        patterns = list(globs)
        return tuple(one.key for one in self.candidates if any(fnmatchcase(one.key, glob) for glob in patterns))

    def share(self, keys: Iterable[str]) -> float:
        """Part of the graph's multiply-adds that are done in INT8 if these nodes are, 0 to 1."""
        return sum(one.macs for one in self.of(keys)) / self.total_macs if self.total_macs else 0.0


def view(model: onnx.ModelProto, size: HeightWidth | None = None) -> GraphView:
    """Look at a graph.

    Args:
        model: usually the prepared graph, float32.
        size: height, width of the frames, where the graph leaves them open.
    """
    links = Links(model)
    shapes = bound_tensors(model, 1, size)
    macs = {key: _macs(node, shapes) for key, node in links.nodes.items()}
    weighted = {key for key, node in links.nodes.items() if _weights(node, links) is not None}
    first = {key for key in weighted if not _passes(links, key, weighted, up=True)}
    last = {key for key in weighted if not _passes(links, key, weighted, up=False)}
    found = []
    for key, node in links.nodes.items():
        inputs = tuple(name for name in _quantized_inputs(node, links) if _is_float(name, shapes))
        if not inputs or node.name.startswith((INPUT_STEP, OUTPUT_STEP)):
            continue
        weights = _weights(node, links)
        found.append(
            Candidate(
                key=key,
                operator=node.op_type,
                inputs=inputs,
                weights=weights,
                axis=None if weights is None else _axis(node),
                macs=macs[key] or 0,
                elements=sum(prod(shapes[name].shape) for name in inputs if name in shapes),
                default_float=_reason(node, links, macs[key], key in first, key in last),
                follows=_fused_into(node, links),
            )
        )
    tensors = dict.fromkeys(name for one in found for name in one.inputs)
    return GraphView(
        candidates=tuple(found),
        shared=shared_ranges(links, tensors),
        total_macs=sum(count or 0 for count in macs.values()),
        nbytes={name: 4 * prod(shapes[name].shape) for name in links.makers if name in shapes},
        raw_outputs=tuple(links.raw_outputs()),
    )


def _macs(node: onnx.NodeProto, shapes: dict[str, TensorShape]) -> int | None:
    def of(names: Iterable[str]) -> list[tuple[int, ...] | None]:
        return [shapes[name].shape if name in shapes else None for name in names]

    return node_multiply_adds(node.op_type, of(node.input), of(node.output))


def _is_float(name: str, shapes: dict[str, TensorShape]) -> bool:
    return name not in shapes or shapes[name].elem_type == onnx.TensorProto.FLOAT


def _weights(node: onnx.NodeProto, links: Links) -> str | None:
    if node.op_type in WEIGHTED and node.domain in ("", "ai.onnx") and len(node.input) > 1:
        name = node.input[1]
        # Models in float16 have no place for float32 scales; they stay as they are.
        if links.constant_type(name) == onnx.TensorProto.FLOAT and not links.is_constant(node.input[0]):
            return str(name) if len(links.constant_shape(name)) > 1 else None
    return None


def _quantized_inputs(node: onnx.NodeProto, links: Links) -> tuple[str, ...]:
    if _weights(node, links) is not None or node.op_type in POOLS:
        return (node.input[0],)
    if node.op_type == "Add":
        branches = residual(node, links)
        return () if branches is None else (branches[1],)
    return ()


def residual(node: onnx.NodeProto, links: Links) -> tuple[str, str] | None:
    """The two inputs of an addition: what a convolution makes, and what skips it; None where nothing would fuse.

    A convolution whose output goes nowhere else takes the addition into its own kernel and reads the other branch,
    which TensorRT wants in INT8; its own result then never becomes INT8. With two such convolutions the later one does.
    """
    if node.op_type != "Add":
        return None
    names = links.activations(node)
    if len(names) != 2 or len(set(names)) != 2:
        return None
    order = {key: place for place, key in enumerate(links.nodes)}
    fused = [name for name in names if _from_convolution(name, links)]
    if not fused:
        return None
    main = max(fused, key=lambda name: order[links.makers[name]])
    (skip,) = (name for name in names if name != main)
    return (main, skip) if skip in links.makers else None


def _fused_into(node: onnx.NodeProto, links: Links) -> str | None:
    branches = residual(node, links)
    name = None if branches is None else branches[0]
    while name is not None and (maker := links.maker(name)) is not None:
        if maker.op_type != "BatchNormalization":
            return links.makers[name]
        name = maker.input[0]
    return None


def _from_convolution(name: str, links: Links) -> bool:
    while (
        (node := links.maker(name)) is not None and len(links.readers.get(name, ())) == 1 and name not in links.outputs
    ):
        if node.op_type != "BatchNormalization":
            return node.op_type in ("Conv", "ConvTranspose")
        name = node.input[0]
    return False


def _axis(node: onnx.NodeProto) -> int | None:
    # Matrix products of any rank: TensorRT takes several scales only where both factors are plain matrices.
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type)


def _reason(node: onnx.NodeProto, links: Links, macs: int | None, first: bool, last: bool) -> Reason | None:
    name = _weights(node, links)
    if name is None:
        return None
    if macs is None:
        return "work unknown"
    if last:
        return "head"
    if node.op_type in ("Conv", "ConvTranspose"):
        return _channel_rule(node, links.constant_shape(name), first)
    rows, columns = links.constant_shape(name)[-2:]
    return "few channels" if min(rows, columns) < MIN_CHANNELS else None


def _channel_rule(node: onnx.NodeProto, shape: tuple[int, ...], first: bool) -> Reason | None:
    groups = integer(node, "group", 1)
    outer, inner = shape[0], shape[1]  # Conv: out, in / groups; ConvTranspose: in, out / groups
    if groups > 1:
        if inner == 1:
            return "depthwise"
        return "few channels" if inner % _GROUP_STEP or (outer // groups) % _GROUP_STEP else None
    channels_in, channels_out = (inner, outer) if node.op_type == "Conv" else (outer, inner)
    if min(channels_in, channels_out) >= MIN_CHANNELS:
        return None
    square = len(set(shape[2:])) <= 1
    # The layer that sees the picture has three channels whatever one does, and kernels of its own.
    allowed = channels_out % _CHANNEL_STEP == 0 and square and (first or channels_in % _CHANNEL_STEP == 0)
    return None if allowed and max(channels_in, channels_out) >= MIN_CHANNELS else "few channels"


def _passes(links: Links, key: str, weighted: set[str], *, up: bool) -> bool:
    """Whether a weighted node comes before (``up``) or after this one."""

    def before(node: onnx.NodeProto) -> list[str]:
        return [links.makers[name] for name in node.input if name in links.makers]

    def after(node: onnx.NodeProto) -> list[str]:
        return [reader for name in node.output for reader in links.readers.get(name, ())]

    step: Callable[[onnx.NodeProto], list[str]] = before if up else after
    seen: set[str] = set()
    todo = step(links.nodes[key])
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        if current in weighted:
            return True
        todo.extend(step(links.nodes[current]))
    return False
