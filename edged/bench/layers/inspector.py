# SPDX-License-Identifier: Apache-2.0
"""Reads the JSON of TensorRT's engine inspector, versions 8.6 to 11.

Versions differ in their words: a tensor's type stands in ``Format/Datatype`` (up to 10) or in ``Datatype`` beside
``Format`` (11), as ``Row major linear FP16 format`` or as ``Half``; an engine built without details gives names only.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any, NamedTuple

from edged.bench.layers.records import BYTES

# In this order: a name within another comes behind it.
_TYPES = (
    ("bf16", r"bf16|bfloat"),
    ("fp8", r"fp8|e4m3|e5m2"),
    ("fp16", r"fp16|half|float16"),
    ("tf32", r"tf32"),
    ("fp64", r"fp64|double|float64"),
    ("fp32", r"fp32|float"),
    ("uint8", r"uint8"),
    ("int8", r"int8"),
    ("int32", r"int32"),
    ("int64", r"int64"),
    ("bool", r"bool"),
)
_PROFILE = re.compile(r"\s*\[profile \d+\]$")
_NODE = re.compile(r"\[ONNX Layer: (.+?)\](?=[\x00-\x1f\s]*(?:\[|$))")


class InspectedTensor(NamedTuple):
    """A tensor of a layer: name, precision (empty where it is not told), shape (None where it is not told)."""

    name: str
    precision: str
    shape: tuple[int, ...] | None

    @property
    def nbytes(self) -> int | None:
        """Bytes; None where shape or type is not known."""
        size = BYTES.get(self.precision)
        return None if size is None or self.shape is None else prod(self.shape) * size


class Inspected(NamedTuple):
    """A layer as the inspector has it.

    Attributes:
        name: as the profiler has it, too.
        kind: ``CaskConvolution``, ``Reformat``, ``kgen``, …; empty without details.
        inputs: tensors read.
        outputs: tensors written.
        weights: precision and number of the weights; 0 where there are none.
        nodes: ONNX nodes that its metadata names; empty where the version has none.
        origin: why it is there, for reformats: ``REFORMAT``, ``QDQ``; empty where it is not told.
    """

    name: str
    kind: str = ""
    inputs: tuple[InspectedTensor, ...] = ()
    outputs: tuple[InspectedTensor, ...] = ()
    weights: tuple[str, int] = ("", 0)
    nodes: tuple[str, ...] = ()
    origin: str = ""

    @property
    def precision(self) -> str:
        """What it computes in: the type of its weights, else of what it reads, else of what it writes."""
        if self.weights[0]:
            return self.weights[0]
        told = [tensor.precision for tensor in (*self.inputs, *self.outputs) if tensor.precision]
        # Indices and shapes beside the data do not say how the layer computes.
        return next((name for name in told if name.startswith(("fp", "bf", "tf")) or name == "int8"), (*told, "")[0])

    @property
    def reformats(self) -> bool:
        """Whether it only changes layout or type."""
        return self.kind.lower() in ("reformat", "reformatter") or self.name.startswith("Reformatting CopyNode")

    @property
    def nbytes(self) -> int | None:
        """Bytes of inputs, outputs and weights; None where one is not known."""
        sizes = [tensor.nbytes for tensor in (*self.inputs, *self.outputs)]
        if not sizes or None in sizes:
            return None
        precision, count = self.weights
        return sum(size for size in sizes if size is not None) + count * BYTES.get(precision, 0)


def inspected(description: Mapping[str, Any]) -> list[Inspected]:
    """The layers of an engine in the order of the run.

    Args:
        description: what `edged.gpu.engines.Engine.layers` returns.
    """
    return [_layer(found) for found in description.get("Layers", [])]


def bare_name(name: str) -> str:
    """A layer's name without the profile that TensorRT appends where an engine has several."""
    return _PROFILE.sub("", name)


def precision_of(text: str) -> str:
    """The precision that a text of the inspector names; empty where it names none."""
    low = text.lower()
    return next((name for name, pattern in _TYPES if re.search(pattern, low)), "")


def _layer(found: Any) -> Inspected:
    if not isinstance(found, Mapping):
        return Inspected(str(found))
    weights = found.get("Weights")
    held = ("", 0)
    if isinstance(weights, Mapping) and weights.get("Count"):
        held = (precision_of(str(weights.get("Type", ""))), int(weights["Count"]))
    return Inspected(
        name=str(found.get("Name", "")),
        kind=str(found.get("LayerType", "")),
        inputs=tuple(_tensor(tensor) for tensor in found.get("Inputs") or ()),
        outputs=tuple(_tensor(tensor) for tensor in found.get("Outputs") or ()),
        weights=held,
        nodes=tuple(dict.fromkeys(_NODE.findall(str(found.get("Metadata") or "")))),
        origin=str(found.get("Origin", "")),
    )


def _tensor(found: Any) -> InspectedTensor:
    if not isinstance(found, Mapping):
        return InspectedTensor(str(found), "", None)
    keys = {key.lower().replace(" ", ""): value for key, value in found.items()}
    told = keys.get("datatype") or keys.get("format/datatype") or keys.get("format") or ""
    dims = keys.get("dimensions")
    known = isinstance(dims, list) and all(isinstance(extent, int) and extent >= 0 for extent in dims)
    return InspectedTensor(str(keys.get("name", "")), precision_of(str(told)), tuple(dims or ()) if known else None)
