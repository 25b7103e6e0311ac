# SPDX-License-Identifier: Apache-2.0
"""Decoder ``end2end``: models that already yield final boxes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs import detection
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.model import ModelSpec, Task
from edged.records import TensorSpec


class EndToEnd(Decoder):
    """Reads [N, K, 6]: x1, y1, x2, y2 in input pixels, score, class.

    Rows keep their values; they are only put in order of their scores, and cut where K exceeds pre_nms.
    """

    name: ClassVar[str] = "end2end"
    task: ClassVar[Task] = "detection"
    expects: ClassVar[str] = "one output [N, K, 6]"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> None:
        """See :meth:`Decoder.check`; the number of classes does not show."""
        output = self.only(outputs, spec, ranks=[3])
        if output.largest[1] != 6 or output.largest[0] < 1:
            raise self.misfit(outputs, spec)
        if spec.output.activation != "none":
            raise self.misfit(outputs, spec, f"final scores take no activation = {spec.output.activation!r}")

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        (output,) = outputs
        anchors = (output.smallest[0], output.largest[0])
        rows = graph.float32(output.name, output.dtype)
        scores = graph.squeeze(graph.slice(rows, 4, 5, 2), 2)
        top = detection.top_rows(graph, scores, anchors, spec.output)
        best = detection.rows_at(graph, rows, top.anchors)
        boxes, classes = graph.slice(best, 0, 4, 2), graph.slice(best, 5, 6, 2)
        return detection.finish(graph, boxes, top.scores, classes, anchors, spec.output)
