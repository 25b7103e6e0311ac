# SPDX-License-Identifier: Apache-2.0
"""Runs a float model over frames and keeps what calibration needs of its tensors, in bounded memory.

The tensors become outputs of the graph, as many at a time as fit the bound; the part of the graph that a portion does
not need is left out. Whatever the number of frames, only one batch's portion is alive.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.engine.int8.histogram import Histogram
from edged.engine.int8.run import Open, Run
from edged.errors import EngineError

Batches = Sequence[NDArray[Any]]
"""Frames, uint8 [n, H, W, 3] each; may read from a disk, as every item is taken once for each portion."""
PORTION_BYTES = 256 << 20
"""Activations that one run may return."""


@dataclass
class Statistics:
    """What was seen of a graph's tensors.

    Attributes:
        histograms: absolute values of each tensor.
        channel_means: mean of each channel (axis 1) of the tensors asked for, float64 [C].
        frames: how many frames were run.
    """

    histograms: dict[str, Histogram] = field(default_factory=dict)
    channel_means: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    frames: int = 0


def collect(
    model: onnx.ModelProto,
    tensors: Sequence[str],
    batches: Batches,
    open_graph: Open,
    *,
    nbytes: Mapping[str, int],
    means: Sequence[str] = (),
    portion_bytes: int = PORTION_BYTES,
) -> Statistics:
    """Run frames through a model and look at some of its tensors.

    Args:
        model: its only input is ``frames``.
        tensors: those to make histograms of.
        batches: frames; batches of one need the least memory.
        open_graph: makes a graph ready to run.
        nbytes: float32 bytes of a tensor for one frame; one whose size is not known here is run alone.
        means: tensors [N, C, …] whose channels' means are wanted.
        portion_bytes: most bytes of tensors that a run may return; a single tensor may be larger.

    Raises:
        EngineError: there are no frames, or a tensor holds values that are not finite.
    """
    found = Statistics(histograms={name: Histogram() for name in tensors})
    largest_batch = max((len(batch) for batch in batches), default=0)
    if not largest_batch:
        raise EngineError("there are no frames to calibrate with", where="calibration")
    sums: dict[str, NDArray[np.float64]] = {}
    for portion in portions(dict.fromkeys([*tensors, *means]), nbytes, portion_bytes // largest_batch):
        run = open_graph(exposing(model, portion))
        found.frames = _portion(run, portion, batches, found.histograms, frozenset(means), sums)
        del run  # before the next one is opened
    for name, total in sums.items():
        found.channel_means[name] = total / found.frames
    _check_finite(found.histograms)
    return found


def _check_finite(histograms: Mapping[str, Histogram]) -> None:
    broken = [name for name, histogram in histograms.items() if histogram.broken]
    if broken:
        raise EngineError(
            f"{len(broken)} tensors hold values that are not finite on the calibration frames, first {broken[0]!r}",
            where="calibration",
            remedy="check that scale, mean and std of the model spec are those of its training",
        )


def _portion(
    run: Run,
    names: Sequence[str],
    batches: Batches,
    histograms: Mapping[str, Histogram],
    means: frozenset[str],
    sums: dict[str, NDArray[np.float64]],
) -> int:
    """Run all frames; returns how many there were."""
    frames = 0
    for batch in batches:
        outputs = run(batch)
        frames += len(batch)
        for name in names:
            values = outputs[name]
            if name in histograms:
                histograms[name].add(values)
            if name in means:
                sums[name] = sums.get(name, 0.0) + channel_sums(values)
    return frames


def channel_sums(values: NDArray[Any]) -> NDArray[np.float64]:
    """Sum over frames of the mean of each channel (axis 1) in a frame, float64 [C]."""
    rows = values.reshape(*values.shape[:2], -1)
    total: NDArray[np.float64] = rows.mean(axis=2, dtype=np.float64).sum(axis=0)
    return total


def portions(names: Iterable[str], nbytes: Mapping[str, int], bound: int) -> list[list[str]]:
    """Split tensors, in their order, into portions that hold at most ``bound`` bytes for a frame."""
    result: list[list[str]] = []
    room = 0
    for name in names:
        size = nbytes.get(name, bound)
        if not result or size > room:
            result.append([])
            room = bound
        result[-1].append(name)
        room -= size
    return result


def exposing(model: onnx.ModelProto, names: Sequence[str]) -> onnx.ModelProto:
    """A copy that yields some inner tensors and nothing else, and holds only the nodes that this takes."""
    makers = {name: node for node in model.graph.node for name in node.output}
    needed: set[int] = set()
    todo = list(names)
    read: set[str] = set()
    while todo:
        name = todo.pop()
        if name in read:
            continue
        read.add(name)
        node = makers.get(name)
        if node is not None and id(node) not in needed:
            needed.add(id(node))
            todo.extend(_inputs(node))
    part = onnx.ModelProto()
    part.CopyFrom(model)
    _keep(part.graph.node, [node for node in model.graph.node if id(node) in needed])
    _keep(part.graph.initializer, [tensor for tensor in model.graph.initializer if tensor.name in read])
    types = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
    _keep(part.graph.output, [types.get(name, onnx.ValueInfoProto(name=name)) for name in names])
    return part


def _inputs(node: onnx.NodeProto) -> list[str]:
    names = [name for name in node.input if name]
    for entry in node.attribute:
        for inner in (entry.g, *entry.graphs):
            names += [name for child in inner.node for name in _inputs(child)]
    return names


def _keep(field_of_graph: Any, items: Sequence[Any]) -> None:
    del field_of_graph[:]
    field_of_graph.extend(items)
