# SPDX-License-Identifier: Apache-2.0
"""Times the layers of a TensorRT engine and says what each one is.

TensorRT's profiler gives times by name, its inspector gives types, shapes and (from 8.6 on) ONNX nodes, the ONNX graph
gives multiply-adds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack, closing
from math import prod

import numpy as np
import onnx

from edged.bench.layers.facts import Facts, facts
from edged.bench.layers.inspector import Inspected, inspected
from edged.bench.layers.measured import Measured, middle
from edged.bench.layers.names import nodes_of
from edged.bench.layers.records import BYTES, Layer, Role
from edged.errors import EngineError
from edged.gpu.api import Gpu, Stream
from edged.gpu.engines import Engine, ExecutionContext, LayerTime, Shape

_WARM_UP = 5
_DEADLINE_S = 60.0
_GRAPH_BYTES = 4
"""Of an element that the graph calls float32."""

Key = tuple[str, int]
"""A layer's name, and how many layers before it have the same."""


def measure(gpu: Gpu, engine: Engine, model: onnx.ModelProto, shape: Shape, runs: int) -> Measured:
    """Run an engine in a context of its own, first plainly, then with the profiler.

    Args:
        gpu: the device.
        engine: with one input.
        model: the prepared graph that it was built from.
        shape: of a batch of frames, [N, H, W, 3].
        runs: of each kind.

    Raises:
        EngineError: the engine takes no such batch, or its inspector's answer cannot be read.
        CudaError: the GPU refuses.
    """
    with ExitStack() as stack:
        stream: Stream = stack.enter_context(closing(gpu.stream("layers")))
        context = _context(gpu, engine, shape, stream, stack)
        for _ in range(_WARM_UP):
            context.enqueue(stream)
        stream.synchronize()
        plain = _plain(gpu, context, stream, runs, stack)
        layers = inspected(engine.layers(context))
        context.timed_run(stream)
        timed = [context.timed_run(stream) for _ in range(runs)]
    known = facts(model, shape)
    found = combined(layers, timed, known)
    return Measured("tensorrt", found, runs, plain, any(layer.kind for layer in layers), known.uncounted)


def combined(layers: Sequence[Inspected], timed: Sequence[Sequence[LayerTime]], known: Facts) -> tuple[Layer, ...]:
    """Layers with times, types and work; in the profiler's order, then those that it did not time.

    Args:
        layers: as the inspector has them.
        timed: each run's times.
        known: of the ONNX graph.
    """
    times: dict[Key, list[float]] = {}
    for run in timed:
        for key, (_, ms) in zip(_keys([name for name, _ in run]), run, strict=True):
            times.setdefault(key, []).append(ms)
    described = dict(zip(_keys([layer.name for layer in layers]), layers, strict=True))
    order = [*times, *(key for key in described if key not in times)]
    ordered = [described.get(key, Inspected(key[0])) for key in order]
    middles = [middle(times.get(key, [0.0])) for key in order]
    nodes = nodes_of(ordered, list(known.nodes))
    owners = _owners(ordered, nodes, [ms for ms, _ in middles])
    return tuple(
        _layer(layer, its, middles[index], [name for name in its if owners.get(name) == index], known)
        for index, (layer, its) in enumerate(zip(ordered, nodes, strict=True))
    )


def _layer(
    found: Inspected, nodes: tuple[str, ...], time: tuple[float, float], owned: Sequence[str], known: Facts
) -> Layer:
    counted = [name for name in owned if name in known.macs]
    heaviest = max(counted, key=lambda name: known.macs[name], default=None)
    role: Role = "reformat" if found.reformats else "work"
    return Layer(
        name=found.name,
        kind=found.kind,
        ms=time[0],
        spread_ms=time[1],
        precision=_change(found) if found.reformats else found.precision,
        role=role,
        nodes=nodes,
        operators=known.operators(nodes),
        macs=sum(known.macs[name] for name in counted),
        nbytes=found.nbytes if found.nbytes is not None else _estimate(found, nodes, known),
        reads=tuple(tensor.name for tensor in found.inputs),
        writes=tuple(tensor.name for tensor in found.outputs),
        weighted=known.weighted[heaviest] if heaviest is not None else None,
    )


def _change(found: Inspected) -> str:
    """What a reformat makes of what: ``fp32→fp16``, or the one type where only the layout changes."""
    sides = [tensor.precision for tensors in (found.inputs, found.outputs) for tensor in tensors[:1]]
    return "→".join(dict.fromkeys(filter(None, sides)))


def _estimate(found: Inspected, nodes: Sequence[str], known: Facts) -> int | None:
    """Traffic from the ONNX graph, where the inspector does not tell all shapes."""
    moved = None if found.reformats else known.moved(nodes)
    if moved is None:
        return None
    nbytes, elements = moved
    return min(nbytes, elements * BYTES.get(found.precision, _GRAPH_BYTES))


def _owners(layers: Sequence[Inspected], nodes: Sequence[Sequence[str]], ms: Sequence[float]) -> dict[str, int]:
    """Which layer's work a node is, where several name it: no reformat, and the one that takes longest."""
    owners: dict[str, int] = {}
    for index in sorted(range(len(layers)), key=lambda index: (layers[index].reformats, -ms[index])):
        for name in nodes[index]:
            owners.setdefault(name, index)
    return owners


def _keys(names: Sequence[str]) -> list[Key]:
    seen: Counter[str] = Counter()
    keys = []
    for name in names:
        keys.append((name, seen[name]))
        seen[name] += 1
    return keys


def _plain(gpu: Gpu, context: ExecutionContext, stream: Stream, runs: int, stack: ExitStack) -> float:
    """Median milliseconds of a run without the profiler."""
    begun, ended = (stack.enter_context(closing(gpu.event(f"layers {point}", timing=True))) for point in ("on", "off"))
    times = []
    for _ in range(runs):
        begun.record(stream)
        context.enqueue(stream)
        ended.record(stream)
        if not ended.wait(_DEADLINE_S):
            raise EngineError(f"a batch was not done within {_DEADLINE_S:g} s", where="bench --layers")
        times.append(ended.since(begun))
    return middle(times)[0]


def _context(gpu: Gpu, engine: Engine, shape: Shape, stream: Stream, stack: ExitStack) -> ExecutionContext:
    (given,) = engine.info.inputs
    profile = engine.info.narrowest_profile(given.name, shape)
    if profile is None:
        raise EngineError(f"no optimisation profile takes {'x'.join(map(str, shape))}", where=engine.name)
    context = stack.enter_context(closing(engine.context("layers")))
    if context.profile != profile:
        context.use_profile(profile, stream)
    context.set_shape(given.name, shape)
    for tensor in engine.info.tensors:
        size = prod(max(1, extent) for extent in context.shape(tensor.name)) * np.dtype(tensor.dtype).itemsize
        buffer = stack.enter_context(closing(gpu.device_buffer(f"layers {tensor.name}", size)))
        if tensor.is_input:
            # Noise, not zeros: a GPU that multiplies zeros draws less power and clocks higher.
            with closing(gpu.host_buffer("layers noise", size)) as noise:
                noise.array[:] = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
                stream.copy_in(buffer, 0, noise.address, size)
                stream.synchronize()
        context.bind(tensor.name, buffer.address)
    return context
