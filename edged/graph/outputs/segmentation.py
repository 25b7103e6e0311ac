# SPDX-License-Identifier: Apache-2.0
"""Decoder ``segmentation``: a class for every cell of the model's grid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.model import ModelSpec, Task
from edged.records import TensorSpec

MOST_CLASSES = 256


class Segmentation(Decoder):
    """Reads [N, C, h, w] scores or [N, h, w] labels; yields ``mask`` uint8 [N, h, w], the first of equal classes."""

    name: ClassVar[str] = "segmentation"
    task: ClassVar[Task] = "segmentation"
    expects: ClassVar[str] = f"one output [N, C, h, w] with 2 to {MOST_CLASSES} classes, or [N, h, w] of labels"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> int | None:
        """See :meth:`Decoder.check`; labels do not tell the number of classes."""
        output = self.only(outputs, spec, ranks=[3, 4])
        if len(output.largest) == 2:
            return None
        classes = output.largest[0]
        if not 2 <= classes <= MOST_CLASSES:
            raise self.misfit(outputs, spec)
        return classes

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        del spec  # an argmax is the same under every activation
        (output,) = outputs
        result = TensorSpec("mask", "uint8", output.largest[-2:], fixed=output.fixed)
        mask, dtype = output.name, output.dtype
        if len(output.largest) == 3:
            mask, dtype = graph.op("ArgMax", graph.float32(mask, dtype), axis=1, keepdims=0), "int64"
        if dtype != "uint8":
            # TensorRT converts to uint8 from floats only.
            mask = graph.cast(graph.float32(mask, dtype), "uint8")
        graph.output(mask, result)
        return [result]
