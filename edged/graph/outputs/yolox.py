# SPDX-License-Identifier: Apache-2.0
"""Decoder ``yolox``: boxes as offsets from the cells of three grids and log sizes, with objectness and class scores."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from edged.graph.builder import FRAMES, GraphBuilder
from edged.graph.outputs import detection
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.graph.sizes import size_bounds
from edged.model import DynamicSize, ModelSpec, Task
from edged.records import TensorSpec


class YoloX(Decoder):
    """Reads [N, A, 5 + C]: offset from the cell, log size, objectness, classes; strides 8, 16, 32."""

    name: ClassVar[str] = "yolox"
    task: ClassVar[Task] = "detection"
    expects: ClassVar[str] = "one output [N, A, 5+C] with one anchor a cell of the grids of strides 8, 16 and 32"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int:
        """See :meth:`Decoder.check`."""
        classes = detection.check_rows(self, outputs, spec, anchors=0, values=1, fields=5)
        size = spec.input.size
        if isinstance(size, DynamicSize) and size.multiple % detection.STRIDES[-1]:
            raise self.misfit(outputs, spec, f"a dynamic input size needs multiple = {detection.STRIDES[-1]}")
        cells = detection.grid_cells(size_bounds(spec.input)[1])
        if outputs[0].largest[0] != cells:
            raise self.misfit(outputs, spec, f"the grids of this input size have {cells} cells")
        return classes

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        (output,) = outputs
        anchors, width = (output.smallest[0], output.largest[0]), output.largest[1]
        rows = graph.float32(output.name, output.dtype)
        scores = detection.objectness_scores(graph, rows, width, spec.output.activation)
        top = detection.top_rows(graph, scores, anchors, spec.output)
        best = detection.rows_at(graph, rows, top.anchors)
        if isinstance(spec.input.size, DynamicSize):
            cell, stride = _cells_of_any_size(graph, top.anchors)
        else:
            cell, stride = _cells_of_fixed_size(graph, top.anchors, spec.input.size)
        centre = graph.op("Mul", graph.op("Add", graph.slice(best, 0, 2, 2), cell), stride)
        size = graph.op("Mul", graph.op("Exp", graph.slice(best, 2, 4, 2)), stride)
        classes = detection.best_class(graph, graph.slice(best, 5, width, 2))
        boxes = detection.corners(graph, centre, size)
        return detection.finish(graph, boxes, top.scores, classes, anchors, spec.output)


def cell_table(size: Sequence[int]) -> NDArray[np.float32]:
    """Column, row and stride of every anchor's cell, float32 [A, 3], for an input of this height and width."""
    tables = []
    for stride in detection.STRIDES:
        row, column = np.mgrid[: size[0] // stride, : size[1] // stride]
        tables.append(np.stack([column.ravel(), row.ravel(), np.full(row.size, stride)], axis=1))
    return np.concatenate(tables).astype(np.float32)


def _cells_of_fixed_size(graph: GraphBuilder, index: str, size: Sequence[int]) -> tuple[str, str]:
    """Cell [N, k, 2] and stride [N, k, 1] of anchors [N, k], looked up in a constant table."""
    table = graph.op("Gather", graph.constant(cell_table(size)), index, axis=0)
    return graph.slice(table, 0, 2, 2), graph.slice(table, 2, 3, 2)


def _cells_of_any_size(graph: GraphBuilder, index: str) -> tuple[str, str]:
    """The same, computed from the anchor number and the size of the frames; exact, as all numbers are below 2^24."""
    size = graph.slice(graph.op("Shape", FRAMES), 1, 3, 0)
    strides = np.array([[stride] for stride in detection.STRIDES], np.int64)
    grids = graph.op("Div", size, graph.constant(strides))  # [3, 2]: height, width of each grid
    widths = graph.slice(grids, 1, 2, 1)
    areas = graph.op("Mul", graph.slice(grids, 0, 1, 1), widths)
    second = graph.slice(areas, 0, 1, 0)
    third = graph.op("Add", second, graph.slice(areas, 1, 2, 0))
    starts = graph.op("Concat", graph.constant(np.zeros((1, 1), np.int64)), second, third, axis=0)
    table = graph.op("Concat", widths, starts, graph.constant(strides), axis=1)  # [3, 3]
    level = graph.op(
        "Add",
        graph.cast(graph.op("GreaterOrEqual", index, graph.squeeze(second, 1)), "int64"),
        graph.cast(graph.op("GreaterOrEqual", index, graph.squeeze(third, 1)), "int64"),
    )
    row = graph.op("Gather", graph.cast(table, "float32"), level, axis=0)  # [N, k, 3]
    number = graph.op("Sub", graph.cast(graph.unsqueeze(index, 2), "float32"), graph.slice(row, 1, 2, 2))
    width = graph.slice(row, 0, 1, 2)
    y = graph.op("Floor", graph.op("Div", number, width))
    x = graph.op("Sub", number, graph.op("Mul", y, width))
    return graph.op("Concat", x, y, axis=2), graph.slice(row, 2, 3, 2)
