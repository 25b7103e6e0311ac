# SPDX-License-Identifier: Apache-2.0
"""What the decoders of detection models share: best scores first, then everything else for those few rows only.

The order matters for the CPU: the maximum over classes is all that is computed per anchor; class numbers and boxes are
computed for the k rows that the top-k leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from edged.graph.builder import GraphBuilder
from edged.graph.outputs.base import MAX_TOP_K, Decoder, ModelOutput
from edged.graph.sizes import size_bounds
from edged.model import DynamicSize, ModelSpec, OutputSpec
from edged.records import TensorSpec

STRIDES = (8, 16, 32)


class TopRows(NamedTuple):
    """The best anchors: scores [N, k] in descending order, and their anchors' numbers [N, k]."""

    scores: str
    anchors: str


def grid_cells(size: Sequence[int]) -> int:
    """Cells of the three grids of an input of this height and width."""
    return sum((size[0] // stride) * (size[1] // stride) for stride in STRIDES)


def check_rows(
    decoder: Decoder, outputs: Sequence[ModelOutput], spec: ModelSpec, *, anchors: int, values: int, fields: int
) -> int:
    """Check [N, A, fields + C] or its transpose and return C.

    The two layouts differ by nothing but their lengths, so an output with fewer anchors than values is taken for the
    wrong one, unless the anchors are just as many as the cells of the grids, or three times as many.

    Args:
        decoder: asks, for the message.
        outputs: of the model.
        spec: of the model.
        anchors: axis of the anchors in one frame's part.
        values: axis of the values.
        fields: how many values precede the classes.

    Raises:
        DecoderError: the output is something else.
    """
    shape = decoder.only(outputs, spec, ranks=[3]).largest
    cells = grid_cells(size_bounds(spec.input)[1])
    if shape[values] <= fields or (shape[values] > shape[anchors] and shape[anchors] not in (cells, 3 * cells)):
        raise decoder.misfit(outputs, spec)
    if isinstance(spec.input.size, DynamicSize) and outputs[0].smallest[values] != shape[values]:
        raise decoder.misfit(outputs, spec, "the number of classes depends on the input size")
    return shape[values] - fields


def activate(graph: GraphBuilder, value: str, activation: str) -> str:
    """Sigmoid or nothing; softmax needs all classes and is applied by :func:`class_scores`."""
    return graph.op("Sigmoid", value) if activation == "sigmoid" else value


def class_scores(graph: GraphBuilder, classes: str, axis: int, activation: str) -> str:
    """Score of the best class [N, A] from the classes' values; the sigmoid keeps order, so it follows the maximum."""
    if activation == "softmax":
        classes = graph.op("Softmax", classes, axis=axis)
    return activate(graph, graph.reduce_max(classes, axis), activation)


def objectness_scores(graph: GraphBuilder, rows: str, width: int, activation: str) -> str:
    """Objectness times best class [N, A] from rows [N, A, 5 + C] of ``width`` values."""
    best = class_scores(graph, graph.slice(rows, 5, width, 2), 2, activation)
    objectness = graph.squeeze(graph.slice(rows, 4, 5, 2), 2)
    return graph.op("Mul", activate(graph, objectness, activation), best)


def top_rows(graph: GraphBuilder, scores: str, anchors: tuple[int, int], output: OutputSpec) -> TopRows:
    """The k = min(pre_nms, anchors) best of scores [N, A], best first; equal scores in the order of the anchors.

    Args:
        graph: gets the nodes.
        scores: [N, A].
        anchors: A at the smallest and the largest input size: k is a constant unless pre_nms lies between.
        output: gives pre_nms.
    """
    limit = min(output.pre_nms, MAX_TOP_K)
    smallest, largest = anchors
    if smallest >= limit or smallest == largest:
        count = graph.ints(min(limit, smallest))
    else:
        count = graph.op("Min", graph.ints(limit), graph.slice(graph.op("Shape", scores), 1, 2, 0))
    best, index = graph.ops("TopK", [scores, count], 2, axis=1)
    return TopRows(best, index)


def rows_at(graph: GraphBuilder, rows: str, index: str) -> str:
    """Rows [N, k, D] of [N, A, D] by anchor numbers [N, k]; copies whole rows, thrice as fast as GatherElements."""
    return graph.op("GatherND", rows, graph.unsqueeze(index, 2), batch_dims=1)


def best_class(graph: GraphBuilder, classes: str) -> str:
    """Number of the best class as float [N, k, 1] from [N, k, C]; the first of equals."""
    return graph.cast(graph.op("ArgMax", classes, axis=2, keepdims=1), "float32")


def corners(graph: GraphBuilder, centre: str, size: str) -> str:
    """x1, y1, x2, y2 [N, k, 4] from centres and sizes [N, k, 2]."""
    half = graph.op("Mul", size, graph.floats(0.5))
    return graph.op("Concat", graph.op("Sub", centre, half), graph.op("Add", centre, half), axis=2)


def finish(
    graph: GraphBuilder, boxes: str, scores: str, classes: str, anchors: tuple[int, int], output: OutputSpec
) -> list[TensorSpec]:
    """Declare ``detections`` [N, k, 6] from boxes [N, k, 4], scores [N, k] and classes [N, k, 1]."""
    limit = min(output.pre_nms, MAX_TOP_K)
    smallest, largest = (min(limit, count) for count in anchors)
    spec = TensorSpec("detections", "float32", (largest, 6), fixed=smallest == largest)
    graph.output(graph.op("Concat", boxes, graph.unsqueeze(scores, 2), classes, axis=2), spec)
    return [spec]
