# SPDX-License-Identifier: Apache-2.0
"""Decoder ``yolov5``: boxes in input pixels with objectness and class scores, one row an anchor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs import detection
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.model import ModelSpec, Task
from edged.records import TensorSpec


class YoloV5(Decoder):
    """Reads [N, A, 5 + C]: cx, cy, w, h in input pixels, objectness, classes."""

    name: ClassVar[str] = "yolov5"
    task: ClassVar[Task] = "detection"
    expects: ClassVar[str] = "one output [N, A, 5+C]"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int:
        """See :meth:`Decoder.check`."""
        return detection.check_rows(self, outputs, spec, anchors=0, values=1, fields=5)

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        (output,) = outputs
        anchors, width = (output.smallest[0], output.largest[0]), output.largest[1]
        rows = graph.float32(output.name, output.dtype)
        scores = detection.objectness_scores(graph, rows, width, spec.output.activation)
        top = detection.top_rows(graph, scores, anchors, spec.output)
        best = detection.rows_at(graph, rows, top.anchors)
        boxes = detection.corners(graph, graph.slice(best, 0, 2, 2), graph.slice(best, 2, 4, 2))
        classes = detection.best_class(graph, graph.slice(best, 5, width, 2))
        return detection.finish(graph, boxes, top.scores, classes, anchors, spec.output)
