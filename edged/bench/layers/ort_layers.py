# SPDX-License-Identifier: Apache-2.0
"""Times the nodes that ONNX Runtime runs, by its own profiler, and says what each one is.

The profiler writes times, operators, types and shapes of all nodes, weights among the inputs; how they hang together
stands in the graph that ONNX Runtime made of the prepared one, which it can write, too.
"""

from __future__ import annotations

import json
import tempfile
import time
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime

from edged.bench.layers.facts import Facts, facts, weighted
from edged.bench.layers.measured import Measured, middle
from edged.bench.layers.origins import Origins
from edged.bench.layers.records import BYTES, Layer
from edged.errors import EngineError
from edged.graph.work import computes, node_key, node_multiply_adds
from edged.stages.infer.ort import open_session

Tensors = list[tuple[str, tuple[int, ...]]]
"""Precision and shape of each."""

_WARM_UP = 3
_SUFFIX = "_kernel_time"
_TYPES = {
    "float": "fp32",
    "float16": "fp16",
    "bfloat16": "bf16",
    "double": "fp64",
}
CONVERSIONS = ("QuantizeLinear", "DequantizeLinear", "Cast", "ReorderInput", "ReorderOutput")
"""Operators that only change type or layout."""
_INTEGER = ("QLinear", "QGemm", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul", "QAttention", "NhwcMaxPool")


def measure(path: Path, shape: tuple[int, ...], threads: int, runs: int) -> Measured:
    """Run a prepared graph, first plainly, then with the profiler.

    Args:
        path: the ONNX file.
        shape: of a batch of frames, [N, H, W, 3].
        threads: of a run; 0 for all cores.
        runs: of each kind.

    Raises:
        ModelError: ONNX Runtime does not take the file.
        EngineError: its profile cannot be read.
    """
    frames = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    session = open_session(path, threads)
    name = session.get_inputs()[0].name
    plain = []
    for number in range(_WARM_UP + runs):
        begin = time.perf_counter()
        session.run(None, {name: frames})
        if number >= _WARM_UP:
            plain.append((time.perf_counter() - begin) * 1e3)
    del session
    with tempfile.TemporaryDirectory(prefix="edged-layers-") as folder:
        events, optimised = _profile(path, Path(folder), {name: frames}, threads, runs)
    layers = layers_of(events, optimised, facts(onnx.load(path), shape))
    missing = tuple(layer.name for layer in layers if computes(layer.kind) and not layer.macs)
    return Measured("onnxruntime", layers, runs, middle(plain)[0], uncounted=missing)


def layers_of(
    events: Sequence[Mapping[str, Any]], graph: onnx.GraphProto, known: Facts, warm_up: int = _WARM_UP
) -> tuple[Layer, ...]:
    """Layers from a profile.

    Args:
        events: as ONNX Runtime writes them.
        graph: that ran: what ONNX Runtime made of the prepared one.
        known: of the prepared one. Its multiply-adds count: ONNX Runtime's own shapes are padded to blocks of channels.
        warm_up: runs at the beginning that do not count.

    Raises:
        EngineError: it holds no run after the warm-up.
    """
    windows = sorted(event["ts"] for event in events if event.get("name") == "model_run")
    runs = len(windows) - warm_up
    if runs < 1:
        raise EngineError("ONNX Runtime's profile holds no run", where="bench --layers")
    nodes: dict[str, Mapping[str, Any]] = {}
    times: dict[str, list[float]] = {}
    for event in events:
        # Nodes end after their run began; a run's own event is written with the time of its beginning.
        number = bisect_right(windows, event.get("ts", 0)) - 1 - warm_up
        if event.get("cat") != "Node" or not event["name"].endswith(_SUFFIX) or number < 0:
            continue
        name = event["name"].removesuffix(_SUFFIX)
        nodes.setdefault(name, event["args"])
        times.setdefault(name, [0.0] * runs)[number] += event["dur"] / 1e3
    edges, origins = {node_key(node): node for node in graph.node}, Origins(known, graph)
    return tuple(
        _with_work(_layer(name, arguments, times[name], edges.get(name)), arguments, origins, known)
        for name, arguments in nodes.items()
    )


def _profile(
    path: Path, folder: Path, feed: dict[str, Any], threads: int, runs: int
) -> tuple[list[dict[str, Any]], onnx.GraphProto]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.enable_profiling = True
    options.profile_file_prefix = str(folder / "profile")
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    for _ in range(_WARM_UP + runs):
        session.run(None, feed)
    written = session.end_profiling()
    del session
    try:
        events = json.loads(Path(written).read_text("utf-8"), strict=False)
    except (OSError, ValueError) as error:
        raise EngineError(f"ONNX Runtime's profile cannot be read: {error}", where=str(path)) from error
    return events, onnx.load(folder / "optimised.onnx", load_external_data=False).graph


def _layer(name: str, arguments: Mapping[str, Any], times: Sequence[float], node: onnx.NodeProto | None) -> Layer:
    kind = str(arguments.get("op_name", ""))
    read, written = _sides(arguments)
    ms, spread = middle(times)
    return Layer(
        name=name,
        kind=kind,
        ms=ms,
        spread_ms=spread,
        precision=_precision(kind, read, written),
        role="reformat" if kind in CONVERSIONS else "work",
        nbytes=sum(prod(shape) * BYTES.get(precision, 1) for precision, shape in (*read, *written)),
        reads=tuple(node.input) if node is not None else (),
        writes=tuple(node.output) if node is not None else (),
    )


def _with_work(layer: Layer, arguments: Mapping[str, Any], origins: Origins, known: Facts) -> Layer:
    """The layer with its nodes in the prepared graph and with what they compute."""
    nodes = origins.nodes(layer.name)
    if layer.kind == "Transpose" and not nodes:
        # None of the model's: its neighbours want another layout.
        layer = replace(layer, role="reformat")
    counted = [name for name in nodes if name in known.macs]
    if counted or not computes(layer.kind):
        macs = sum(known.macs[name] for name in counted)
        decides = known.weighted[max(counted, key=known.macs.__getitem__)] if counted else None
    else:
        inputs, outputs = ([shape for _, shape in tensors] for tensors in _sides(arguments))
        macs = node_multiply_adds(layer.kind, inputs, outputs) or 0
        decides = weighted(layer.kind, inputs, outputs, first=False)
    return replace(layer, nodes=nodes, operators=known.operators(nodes), macs=macs, weighted=decides)


def _sides(arguments: Mapping[str, Any]) -> tuple[Tensors, Tensors]:
    return _tensors(arguments.get("input_type_shape")), _tensors(arguments.get("output_type_shape"))


def _tensors(told: Any) -> Tensors:
    """Precision and shape of each tensor: ``[{"float": [1, 3]}, …]``."""
    return [
        (_TYPES.get(kind, kind), tuple(int(extent) for extent in shape))
        for tensor in told or ()
        for kind, shape in tensor.items()
    ]


def _precision(kind: str, read: Tensors, written: Tensors) -> str:
    sides = [precision for tensors in (read, written) for precision, _ in tensors[:1]]
    if kind in CONVERSIONS:
        return "→".join(dict.fromkeys(sides))
    if kind.startswith(_INTEGER):
        return "int8"
    # Unsigned bytes are frames before the first cast, or quantized values: both move as bytes.
    return sides[0] if sides else ""
