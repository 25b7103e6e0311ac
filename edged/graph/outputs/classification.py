# SPDX-License-Identifier: Apache-2.0
"""Decoder ``classification``: the best classes of a picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs.base import MAX_TOP_K, Decoder, ModelOutput
from edged.graph.outputs.detection import activate
from edged.model import ModelSpec, Task
from edged.records import TensorSpec


class Classification(Decoder):
    """Reads [N, C]; yields ``classes`` [N, k, 2]: score and class, best first, k = min(C, max_detections)."""

    name: ClassVar[str] = "classification"
    task: ClassVar[Task] = "classification"
    expects: ClassVar[str] = "one output [N, C]"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int:
        """See :meth:`Decoder.check`."""
        output = self.only(outputs, spec, ranks=[2])
        if output.largest[0] < 1 or not output.fixed:
            raise self.misfit(outputs, spec)
        return output.largest[0]

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        (output,) = outputs
        count = min(output.largest[0], spec.output.max_detections, MAX_TOP_K)
        values = graph.float32(output.name, output.dtype)
        best, index = graph.ops("TopK", [values, graph.ints(count)], 2, axis=1)
        # Both activations keep the order; softmax alone needs the other classes' values for its sum.
        if spec.output.activation == "softmax":
            best = graph.op("GatherElements", graph.op("Softmax", values, axis=1), index, axis=1)
        scores = graph.unsqueeze(activate(graph, best, spec.output.activation), 2)
        classes = graph.unsqueeze(graph.cast(index, "float32"), 2)
        result = TensorSpec("classes", "float32", (count, 2))
        graph.output(graph.op("Concat", scores, classes, axis=2), result)
        return [result]
