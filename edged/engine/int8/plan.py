# SPDX-License-Identifier: Apache-2.0
"""The quantization plan: all that is needed to write a quantized graph from the prepared one. It is the recipe file."""

from __future__ import annotations

import hashlib
import math

import msgspec
import numpy as np
import onnx

from edged.engine.int8.view import GraphView
from edged.errors import EngineError

FORMAT = 1
SMALLEST_SCALE = 2.0**-20
"""Smaller ones would have hardly any digits left in float16."""
LARGEST_SCALE = 65504.0

_REMEDY = "build without --recipe, or take the recipe that was made from this model and this model spec"


class QuantizationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Which nodes compute in INT8, and the scale of every tensor that they read.

    Attributes:
        model: digest of the prepared graph, see `digest_of`.
        nodes: keys of the nodes in INT8, in the graph's order.
        scales: by tensor; real value = scale * int8. Exact in float16, so that both typed files hold the same numbers.
        methods: by tensor, how its scale was found; a report wants to know.
        bias: by node, what is added to each output channel against the mean error of its quantization.
        format: version of this record.
    """

    model: str
    nodes: tuple[str, ...]
    scales: dict[str, float]
    methods: dict[str, str] = {}
    bias: dict[str, tuple[float, ...]] = {}
    format: int = FORMAT

    def to_json(self) -> bytes:
        """The recipe file's content; equal plans give equal bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1) + b"\n"

    def check(self, model: str, view: GraphView, where: str = "recipe") -> None:
        """Hold a plan against the graph that it is going to be written into.

        Args:
            model: digest of the graph.
            view: of the graph.
            where: named by errors.

        Raises:
            EngineError: it is of another version, was made for another graph, or is not whole.
        """
        if self.format != FORMAT:
            raise EngineError(
                f"the recipe has format {self.format}, this edged reads {FORMAT}", where=where, remedy="build again"
            )
        if self.model != model:
            raise EngineError(
                f"it was made for another prepared graph ({self.model[:12]} instead of {model[:12]})",
                where=where,
                remedy=_REMEDY,
            )
        known = {one.key: one for one in view.candidates}
        strange = [key for key in self.nodes if key not in known]
        if strange:
            raise EngineError(f"{strange[0]!r} is no node that can be quantized", where=where, remedy=_REMEDY)
        for key in self.nodes:
            for name in known[key].inputs:
                scale = self.scales.get(name)
                if scale is None or not is_scale(scale):
                    raise EngineError(
                        f"tensor {name!r}, which {key!r} reads, has {'no' if scale is None else 'the impossible'} scale"
                        f"{'' if scale is None else f' {scale}'}",
                        where=where,
                        remedy=_REMEDY,
                    )


def digest_of(model: onnx.ModelProto) -> str:
    """SHA-256 of a graph, 64 hexadecimal digits."""
    return hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()


def scale_for(threshold: float, steps: int = 127) -> float:
    """The scale that reaches a threshold in so many steps: the next larger number that float16 holds."""
    wanted = min(max(threshold / steps, SMALLEST_SCALE), LARGEST_SCALE)
    found = np.float16(wanted)
    if float(found) < wanted:
        found = np.nextafter(found, np.float16(np.inf))
    return float(found)


def is_scale(scale: float) -> bool:
    """Whether a number can be a scale: positive, and exact in float16."""
    return math.isfinite(scale) and SMALLEST_SCALE <= scale <= LARGEST_SCALE and float(np.float16(scale)) == scale
