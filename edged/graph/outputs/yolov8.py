# SPDX-License-Identifier: Apache-2.0
"""Decoder ``yolov8``: boxes in input pixels with class scores, one column an anchor, no objectness."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs import detection
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.model import ModelSpec, Task
from edged.records import TensorSpec


class YoloV8(Decoder):
    """Reads [N, 4 + C, A]: cx, cy, w, h in input pixels, classes."""

    name: ClassVar[str] = "yolov8"
    task: ClassVar[Task] = "detection"
    expects: ClassVar[str] = "one output [N, 4+C, A]"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int:
        """See :meth:`Decoder.check`."""
        return detection.check_rows(self, outputs, spec, anchors=1, values=0, fields=4)

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        (output,) = outputs
        anchors, width = (output.smallest[1], output.largest[1]), output.largest[0]
        columns = graph.float32(output.name, output.dtype)
        scores = detection.class_scores(graph, graph.slice(columns, 4, width, 1), 1, spec.output.activation)
        top = detection.top_rows(graph, scores, anchors, spec.output)
        # Only the k best columns are turned into rows: transposing all anchors first costs more than all the rest.
        wanted = graph.op("Expand", graph.unsqueeze(top.anchors, 1), graph.ints(1, width, 1))
        best = graph.op("Transpose", graph.op("GatherElements", columns, wanted, axis=2), perm=[0, 2, 1])
        boxes = detection.corners(graph, graph.slice(best, 0, 2, 2), graph.slice(best, 2, 4, 2))
        classes = detection.best_class(graph, graph.slice(best, 4, width, 2))
        return detection.finish(graph, boxes, top.scores, classes, anchors, spec.output)
