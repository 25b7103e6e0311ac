# SPDX-License-Identifier: Apache-2.0
"""Decoder ``raw``: the model's outputs as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from edged.graph.builder import GraphBuilder
from edged.graph.outputs.base import Decoder, ModelOutput
from edged.model import ModelSpec, Task
from edged.records import TensorSpec


class Raw(Decoder):
    """Reads anything whose first dimension is the batch; adds nothing."""

    name: ClassVar[str] = "raw"
    task: ClassVar[Task] = "raw"
    expects: ClassVar[str] = "outputs [N, ...] and no activation"

    def check(self, outputs: Sequence[ModelOutput], spec: ModelSpec) -> None:
        """See :meth:`Decoder.check`; there are no classes."""
        if not outputs or spec.output.activation != "none":
            raise self.misfit(outputs, spec)

    def attach(self, graph: GraphBuilder, outputs: Sequence[ModelOutput], spec: ModelSpec) -> list[TensorSpec]:
        """See :meth:`Decoder.attach`."""
        del spec  # nothing to compute
        specs = [TensorSpec(one.name, one.dtype, one.largest, one.fixed) for one in outputs]
        for one in specs:
            graph.declare(one)
        return specs
