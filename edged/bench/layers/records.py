# SPDX-License-Identifier: Apache-2.0
"""What is known of a layer: as it was measured, and as it was judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Role = Literal["work", "reformat"]
"""``reformat``: the layer only changes layout or type, because its neighbours want different ones."""
Bound = Literal["compute", "memory", "latency", "unknown"]
"""What limits a layer. ``latency``: it comes close to neither limit, it is too small for the device."""
Int8 = Literal["already", "yes", "traffic", "no", "unknown"]
"""Whether INT8 would help. ``traffic``: only by moving fewer bytes."""

FLOATS = ("fp64", "fp32", "tf32", "fp16", "bf16")
BYTES = {"fp64": 8, "fp32": 4, "tf32": 4, "fp16": 2, "bf16": 2, "int8": 1, "uint8": 1, "fp8": 1, "bool": 1}
"""Bytes of an element by precision; also those of the wider integers."""
BYTES |= {"int64": 8, "uint64": 8, "int32": 4, "uint32": 4, "int16": 2, "uint16": 2}


@dataclass(frozen=True)
class Weighted:
    """What decides whether a convolution or a matrix product gains from INT8.

    Attributes:
        kind: ``conv`` or ``product``.
        inputs: channels read (all groups), or the inner extent of the product.
        outputs: channels written, or columns.
        groups: of a convolution.
        kernel: smallest and largest extent of the filter.
        rows: rows of the product; 1 means a matrix by a vector.
        first: whether it is the first of the graph.
    """

    kind: Literal["conv", "product"]
    inputs: int
    outputs: int
    groups: int = 1
    kernel: tuple[int, int] = (1, 1)
    rows: int = 0
    first: bool = False


@dataclass(frozen=True)
class Layer:
    """A layer as it ran.

    Attributes:
        name: the backend's.
        kind: the backend's word for what it is.
        ms: median of the runs.
        spread_ms: between the quartiles of the runs.
        precision: ``fp32``, ``fp16``, ``int8``, …; empty where nobody tells.
        role: see `Role`.
        nodes: ONNX nodes that it does.
        operators: of these nodes.
        macs: multiply-adds of a run.
        nbytes: read and written in a run, weights too, if no cache helps; None where unknown.
        reads: names of its input tensors.
        writes: names of its output tensors.
        weighted: its convolution or matrix product, if it has one.
    """

    name: str
    kind: str
    ms: float
    spread_ms: float = 0.0
    precision: str = ""
    role: Role = "work"
    nodes: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    macs: int = 0
    nbytes: int | None = None
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    weighted: Weighted | None = None

    @property
    def intensity(self) -> float | None:
        """Arithmetic intensity: floating-point (or integer) operations a byte, two for each multiply-add."""
        return 2 * self.macs / self.nbytes if self.nbytes else None

    @property
    def ops_per_s(self) -> float:
        """Operations a second that it reached."""
        return 2e3 * self.macs / self.ms if self.ms > 0 else 0.0

    @property
    def bytes_per_s(self) -> float:
        """Bytes a second that it moved."""
        return 1e3 * self.nbytes / self.ms if self.ms > 0 and self.nbytes else 0.0


@dataclass(frozen=True)
class Ceilings:
    """What the device can do at the most; measured, never looked up.

    Attributes:
        bytes_per_s: of memory; None where it could not be measured.
        ops_per_s: of arithmetic by precision.
        how: how each was found, as texts.
    """

    bytes_per_s: float | None = None
    ops_per_s: Mapping[str, float] = field(default_factory=dict)
    how: tuple[str, ...] = ()

    def ridge(self, precision: str) -> float | None:
        """Operations a byte from which on arithmetic is the limit; None where a ceiling is not known."""
        peak = self.ops_per_s.get(precision)
        return peak / self.bytes_per_s if peak and self.bytes_per_s else None


@dataclass(frozen=True)
class Row:
    """A layer with its verdict.

    Attributes:
        layer: as it ran.
        share: of the time of all layers, 0 to 1.
        bound: what limits it.
        int8: whether INT8 would help.
        why: the reason for ``int8``, a few words.
    """

    layer: Layer
    share: float
    bound: Bound
    int8: Int8
    why: str


@dataclass(frozen=True)
class Finding:
    """Something to look into.

    Attributes:
        kind: ``batch-norm``, ``island``, ``reformat``, ``quantizer``, ``input-step``, ``no-details`` or ``uncounted``.
        what: one sentence's worth.
        remedy: what to do.
        share: of the time, 0 to 1.
        layers: which ones.
    """

    kind: str
    what: str
    remedy: str
    share: float
    layers: tuple[str, ...] = ()

    def line(self) -> str:
        """As one line."""
        return f"{self.what}; {self.remedy}"
