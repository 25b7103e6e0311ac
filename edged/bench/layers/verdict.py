# SPDX-License-Identifier: Apache-2.0
"""What limits a layer, after the roofline model, and whether INT8 would help it.

Roofline (Williams, Waterman, Patterson 2009): with ``ridge = peak arithmetic / peak bandwidth`` a layer whose
arithmetic intensity lies above the ridge can at best be limited by arithmetic, below it by memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from edged.bench.layers.records import BYTES, FLOATS, Bound, Ceilings, Int8, Layer, Row, Weighted

LATENCY_SHARE = 0.1
"""A layer that reaches less than this of both ceilings is limited by neither."""
SMALL_SHARE = 0.002
"""Layers with less of the time are not worth quantizing for speed; of a hundred alike each has 0.01."""
_WIDE = 16
_STEP = 8


def judge(layers: Sequence[Layer], ceilings: Ceilings) -> list[Row]:
    """Rows in the order of the layers."""
    total = sum(layer.ms for layer in layers)
    rows = []
    for layer in layers:
        share = layer.ms / total if total else 0.0
        bound = bound_of(layer, ceilings)
        rows.append(Row(layer, share, bound, *int8_for(layer, share, bound)))
    return rows


def raised(ceilings: Ceilings, layers: Iterable[Layer]) -> Ceilings:
    """Ceilings that are no lower than what some layer reached, for each precision."""
    peaks, how = dict(ceilings.ops_per_s), list(ceilings.how)
    for layer in layers:
        if layer.precision and layer.ops_per_s > peaks.get(layer.precision, 0.0):
            peaks[layer.precision] = layer.ops_per_s
            how = [line for line in how if not line.startswith(f"{layer.precision}: ")]
            how.append(f"{layer.precision}: what the best layer ({layer.name}) reached; the device may do more")
    return replace(ceilings, ops_per_s=peaks, how=tuple(how))


def bound_of(layer: Layer, ceilings: Ceilings) -> Bound:
    """What limits a layer; ``unknown`` where its traffic or a ceiling is not known."""
    bandwidth = ceilings.bytes_per_s
    if layer.nbytes is None or not bandwidth or layer.ms <= 0:
        return "unknown"
    peak = ceilings.ops_per_s.get(layer.precision)
    if layer.macs and not peak:
        return "unknown"
    reached = max(layer.bytes_per_s / bandwidth, layer.ops_per_s / peak if peak else 0.0)
    if reached < LATENCY_SHARE:
        return "latency"
    ridge, intensity = ceilings.ridge(layer.precision), layer.intensity
    if ridge is None or intensity is None:
        return "memory"
    return "compute" if intensity >= ridge else "memory"


def int8_for(layer: Layer, share: float, bound: Bound) -> tuple[Int8, str]:
    """Whether INT8 would help a layer, and why."""
    if layer.precision in ("int8", "fp8"):
        return "already", f"is {layer.precision}"
    weighted = layer.weighted
    if weighted is None or not layer.macs:
        return "no", "no product"
    if layer.precision not in FLOATS:
        return "unknown", "its precision is not known"
    unfit = unsuited(weighted)
    if unfit:
        return "no", unfit
    if share < SMALL_SHARE:
        return "no", f"under {SMALL_SHARE:.1%} of the time"
    if bound == "compute":
        return "yes", "limited by arithmetic"
    if bound == "memory":
        return "traffic", f"1/{BYTES[layer.precision]} of the bytes"
    if bound == "latency":
        return "no", "too small for the device"
    return "unknown", "what limits it is not known"


def unsuited(weighted: Weighted) -> str:
    """Why INT8 kernels do not fit a convolution or product, empty where they do.

    Fewer than 16 channels leave INT8 matrix units idle. Exceptions, after NVIDIA's own quantizer: ungrouped square
    filters over a multiple of 8 channels with at least 16 on the other side (or in the first layer), and grouped
    filters of 3 and more that write a multiple of 8.
    """
    if weighted.kind == "product":
        if weighted.rows == 1 or weighted.outputs == 1:
            return "matrix by vector"
        narrow = min(weighted.inputs, weighted.outputs) < _WIDE
        return f"under {_WIDE} columns" if narrow else ""
    inputs, outputs = weighted.inputs, weighted.outputs
    if min(inputs, outputs) >= _WIDE:
        return ""
    smallest, largest = weighted.kernel
    if weighted.groups == 1:
        one = inputs if inputs < _WIDE else outputs
        other = outputs if inputs < _WIDE else inputs
        excepted = one % _STEP == 0 and (other >= _WIDE or weighted.first) and smallest == largest
    else:
        excepted = outputs % _STEP == 0 and smallest >= 3
    return "" if excepted else f"under {_WIDE} channels"
