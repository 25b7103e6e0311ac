# SPDX-License-Identifier: Apache-2.0
"""Engines to swap to: copies of what ONNX Runtime runs, with other keys, and as good or as bad as a test wants them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
from onnx import numpy_helper

from edged.engine.build import build
from edged.engine.manifest import Candidate
from edged.engine.shelf import Content, hold
from edged.engine.store import model_folder, read_engine
from support.engines import Heard, request

_ENORMOUS = 1 << 45
"""Numbers, of four bytes each."""


def store_engine(
    state: Path,
    spec: Path,
    *,
    name: str = "",
    spoiled: bool = False,
    broken: bool = False,
    huge: bool = False,
    heavy: int = 0,
) -> str:
    """Have a daemon's store hold another current engine; returns its key.

    Args:
        state: the daemon's state folder.
        spec: of the model.
        name: makes the key another one than that of the engine that a build yields.
        spoiled: the largest weights have the wrong sign.
        broken: it is no ONNX file.
        huge: no machine has memory for it.
        heavy: bytes that it takes while it is loaded, beside what it takes anyway.
    """
    done = build(request(spec, state, backend="onnxruntime"), Heard())
    if not (name or spoiled or broken or huge or heavy):
        return done.key
    found = read_engine(model_folder(state, done.model_id), done.key)
    content = found.path.read_bytes()
    if spoiled:
        content = _spoiled(content)
    if huge or heavy:
        content = _heavy(content, _ENORMOUS if huge else heavy // 4)
    if broken:
        content = b"nothing that could be run"
    fields = msgspec.structs.replace(found.manifest.fields, calibration=name or "spoiled")
    measured = Content(content)
    made = msgspec.structs.replace(
        found.manifest, key=fields.digest(), fields=fields, size=measured.size, sha256=measured.sha256
    )
    with hold(state, done.model_id) as shelf:
        shelf.put(made, measured)
        shelf.make_current(made, chosen=True)
    return made.key


def store_quicker(state: Path, spec: Path, latency_ms: Mapping[Any, float]) -> tuple[str, str]:
    """Have a store hold two engines: FP32, and the same for INT8, which a race is said to have found quicker.

    Args:
        state: the daemon's state folder.
        spec: of the model.
        latency_ms: by precision.

    Returns:
        The keys of both.
    """
    done = build(request(spec, state, backend="onnxruntime"), Heard())
    found = read_engine(model_folder(state, done.model_id), done.key)
    fields = msgspec.structs.replace(found.manifest.fields, precision="int8")
    raced = tuple(Candidate(precision=precision, latency_ms={"1": ms}) for precision, ms in latency_ms.items())
    made = msgspec.structs.replace(found.manifest, key=fields.digest(), fields=fields, candidates=raced)
    with hold(state, done.model_id) as shelf:
        shelf.put(made, Content(found.path.read_bytes()))
        shelf.make_current(made, chosen=False)
    return done.key, made.key


def _spoiled(content: bytes) -> bytes:
    model = onnx.load_model_from_string(content)
    weights = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    largest = max(weights, key=lambda each: int(np.prod(each.dims)))
    largest.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(largest), largest.name))
    whole: bytes = model.SerializeToString()
    return whole


def _heavy(content: bytes, numbers: int) -> bytes:
    model = onnx.load_model_from_string(content)
    graph = model.graph
    output = graph.output[0].name
    (last,) = (node for node in graph.node if output in node.output)
    last.output[list(last.output).index(output)] = "before"
    graph.initializer.append(numpy_helper.from_array(np.array([numbers], np.int64), "enormous"))
    graph.node.extend(
        [
            onnx.helper.make_node("ConstantOfShape", ["enormous"], ["zeros"]),
            onnx.helper.make_node("ReduceMax", ["zeros"], ["zero"], keepdims=0),
            onnx.helper.make_node("Add", ["before", "zero"], [output]),
        ]
    )
    whole: bytes = model.SerializeToString()
    return whole
