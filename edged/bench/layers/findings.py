# SPDX-License-Identifier: Apache-2.0
"""What stands out in an engine's layers, each with its remedy."""

from __future__ import annotations

from collections.abc import Sequence

from edged.bench.layers.records import Finding, Layer, Row
from edged.gpu.fronted import KERNEL
from edged.graph.builder import OWN_PREFIX
from edged.graph.work import computes

INPUT_SHARE = 0.05
"""The input step should cost no more of the time."""
_NAMED = 4
_NARROW = ("fp16", "bf16", "int8", "fp8", "uint8")
_WIDE = ("fp32", "tf32")
_INPUT_STEP = f"{OWN_PREFIX}input/"
_BATCH_NORM = ("BatchNormalization", "QLinearBatchNormalization")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")


def findings(rows: Sequence[Row]) -> list[Finding]:
    """What there is to say of judged layers; the most time first."""
    found = [*batch_norms(rows), *islands(rows), *reformats(rows), *quantizers(rows), *input_step(rows)]
    return sorted(found, key=lambda finding: -finding.share)


def batch_norms(rows: Sequence[Row]) -> list[Finding]:
    """Batch normalisations that run by themselves instead of being part of a convolution's weights."""
    left = [
        row
        for row in rows
        if any(operator in _BATCH_NORM for operator in (*row.layer.operators, row.layer.kind))
        and not any(computes(operator) for operator in row.layer.operators)
        and not _enters(row.layer)
    ]
    return _finding(
        "batch-norm",
        left,
        f"{_count(left, 'batch normalisation')} left unfused",
        "export the model in evaluation mode with its batch normalisations folded into the convolutions before them",
    )


def islands(rows: Sequence[Row]) -> list[Finding]:
    """FP32 layers whose inputs come from, and whose outputs go to, layers in half precision or INT8."""
    layers = [row.layer for row in rows]
    after = _successors(layers)
    before: list[set[int]] = [set() for _ in layers]
    for index, others in enumerate(after):
        for other in others:
            before[other].add(index)
    inside: list[int] = []
    groups = 0
    for group in _groups(layers, before, after):
        # Frames are uint8 too, but nobody narrowed them.
        entering = {layers[other].precision for index in group for other in before[index] if not _enters(layers[other])}
        leaving = {layers[other].precision for index in group for other in after[index]}
        if entering & set(_NARROW) and leaving & set(_NARROW):
            groups += 1
            inside += group
    left = [rows[index] for index in sorted(inside)]
    return _finding(
        "island",
        left,
        f"{_count(left, 'FP32 layer')} in {groups} {'islands' if groups > 1 else 'island'} between narrower layers",
        "let them run in FP16 or INT8 too (see build.keep_float), or keep their neighbours in FP32 as well",
    )


def reformats(rows: Sequence[Row]) -> list[Finding]:
    """Layers that only change layout or type."""
    left = [row for row in rows if row.layer.role == "reformat" and not (_quantizes(row.layer) or _enters(row.layer))]
    return _finding(
        "reformat",
        left,
        _count(left, "reformat"),
        "neighbours in one precision, and channels in multiples of 8 (FP16) or 32 (INT8), need fewer",
    )


def quantizers(rows: Sequence[Row]) -> list[Finding]:
    """Q/DQ nodes that run by themselves."""
    left = [row for row in rows if _quantizes(row.layer)]
    return _finding(
        "quantizer",
        left,
        f"{_count(left, 'quantize or dequantize layer')} left unfused",
        "quantize both sides of what stands between them, or neither (see edged-build-engine explain)",
    )


def input_step(rows: Sequence[Row]) -> list[Finding]:
    """The prepared graph's own input step, where it costs much."""
    own = [row for row in rows if _enters(row.layer)]
    if sum(row.share for row in own) <= INPUT_SHARE:
        return []
    return _finding(
        "input-step",
        own,
        f"the input step runs as {_count(own, 'layer')} of its own",
        "larger batches and FP16 make it a smaller part",
    )


def _enters(layer: Layer) -> bool:
    """Whether it is of the input step: its nodes, or the kernel that stands for them."""
    return all(name.startswith(_INPUT_STEP) for name in layer.nodes or (layer.name,)) or layer.name == KERNEL


def _quantizes(layer: Layer) -> bool:
    operators = layer.operators or (layer.kind,)
    return all(name in _QUANTIZERS for name in operators)


def _successors(layers: Sequence[Layer]) -> list[set[int]]:
    """For each working layer those that read what it wrote, through any number of reformats."""
    readers: dict[str, list[int]] = {}
    for index, layer in enumerate(layers):
        for name in filter(None, layer.reads):
            readers.setdefault(name, []).append(index)
    after: list[set[int]] = []
    for layer in layers:
        reached: set[int] = set()
        seen: set[int] = set()
        waiting = [index for name in layer.writes for index in readers.get(name, ())]
        while waiting:
            index = waiting.pop()
            if index in seen:
                continue
            seen.add(index)
            if layers[index].role == "reformat":
                waiting += [other for name in layers[index].writes for other in readers.get(name, ())]
            else:
                reached.add(index)
        after.append(reached if layer.role == "work" else set())
    return after


def _groups(layers: Sequence[Layer], before: Sequence[set[int]], after: Sequence[set[int]]) -> list[list[int]]:
    """FP32 layers that hang together."""
    left = {index for index, layer in enumerate(layers) if layer.precision in _WIDE and layer.role == "work"}
    groups = []
    while left:
        waiting, group = [left.pop()], []
        while waiting:
            index = waiting.pop()
            group.append(index)
            near = (before[index] | after[index]) & left
            left -= near
            waiting += near
        groups.append(group)
    return groups


def _finding(kind: str, rows: Sequence[Row], what: str, remedy: str) -> list[Finding]:
    if not rows:
        return []
    share = sum(row.share for row in rows)
    ordered = sorted(rows, key=lambda row: -row.share)
    names = ", ".join(_short(row.layer) for row in ordered[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    what = f"{what}, {share:.1%} of the time: {names}{more}"
    return [Finding(kind, what, remedy, share, tuple(row.layer.name for row in ordered))]


def _short(layer: Layer) -> str:
    change = f" ({layer.precision})" if "→" in layer.precision else ""
    return (layer.name if len(layer.name) <= 60 else f"{layer.name[:57]}…") + change


def _count(things: Sequence[object], word: str) -> str:
    return f"{len(things)} {word}{'' if len(things) == 1 else 's'}"
