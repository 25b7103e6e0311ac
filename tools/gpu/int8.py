# SPDX-License-Identifier: Apache-2.0
"""INT8 from explicit Q/DQ nodes: what stands in the graph, what became of it, and how fast its pipeline is."""

from __future__ import annotations

import re
from collections import Counter
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import onnx

from tools.gpu.fast import TARGETS, ratio
from tools.gpu.input_step import input_step
from tools.gpu.quantize import as_wanted, survey
from tools.gpu.results import attempt
from tools.gpu.rig import Host

MODELS = ("resnet18-int8", "resnet50-int8")
_KINDS = {"int8": "Int8", "fp16": "Half", "half": "Half", "fp32": "Float", "float": "Float"}
_TACTICS = {r"i8i8|int8|_i8": "Int8", r"f16f16|fp16|_h1688|_f16": "Half", r"tf32|f32f32|fp32": "Float"}
_UNTOLD = "N/A"
_MOST_OF_THE_CONVOLUTIONS = 0.9


def graph(folder: Path, name: str) -> dict[str, Any]:
    """Which nodes of the ONNX file have Q/DQ pairs."""
    found = survey(onnx.load(folder / f"{name}.onnx"))
    target = "all convolutions, one side of each addition, symmetric, per channel"
    return {"ok": as_wanted(found), "target": target, **found}


def layers(host: Host, name: str) -> dict[str, Any]:
    """How many of the engine's convolutions take INT8, by what TensorRT says of its layers."""
    with host.model(name, "int8") as model, closing(model.engine.context("layers")) as context:
        (given,) = model.engine.info.inputs
        # Types are told only once the shapes are known.
        context.set_shape(given.name, given.ranges[max(0, context.profile)].best)
        convs, counts = convolution_types(model.engine.layers(context))
    share = sum(count for kind, count in counts.items() if kind == "Int8") / max(1, convs)
    target = f">= {_MOST_OF_THE_CONVOLUTIONS:.0%} in INT8"
    return {"ok": share >= _MOST_OF_THE_CONVOLUTIONS, "target": target, "convolutions": convs, "inputs": dict(counts)}


def convolution_types(described: dict[str, Any]) -> tuple[int, Counter[str]]:
    """Convolutions of an engine, and how many by type of the first input (``Int8``, ``Half``, ``Float``)."""
    counts: Counter[str] = Counter()
    for layer in described.get("Layers", []):
        if not isinstance(layer, dict):
            continue  # names alone: the engine was built without details
        if "Convolution" not in f"{layer.get('LayerType')} {layer.get('ParameterType')}":
            continue
        (first, *_) = layer.get("Inputs") or [{}]
        shown = str(first.get("Format/Datatype") or f"{first.get('DataType', '?')} {first.get('Format', '')}")
        counts[_kind(shown) if _UNTOLD not in shown else _kind_of_tactic(str(layer.get("TacticName", "")))] += 1
    return sum(counts.values()), counts


def _kind_of_tactic(name: str) -> str:
    """By the kernel's name: with several profiles 8.6 keeps the types to itself."""
    found = [kind for pattern, kind in _TACTICS.items() if re.search(pattern, name)]
    return found[0] if found else name or "untold"


def _kind(shown: str) -> str:
    """TensorRT's words for a tensor's layout hold the type, in varying spelling."""
    lowered = shown.lower()
    found = [kind for word, kind in _KINDS.items() if word in lowered]
    return found[0] if found else shown


def int8(folder: Path, rounds: int = 12) -> dict[str, Any]:
    """All of INT8 but the accuracy, which ``resnet50`` shows."""
    results: dict[str, Any] = {}
    for name in MODELS:
        attempt(results, f"graph-{name}", partial(graph, folder, name))
    with Host(folder) as host:
        for name in MODELS:
            attempt(results, f"layers-{name}", partial(layers, host, name))
        with host.model("resnet18-int8", "int8") as model:
            for batch in TARGETS:
                attempt(results, f"batch-{batch}", partial(ratio, host.gpu, model, batch, rounds))
        attempt(results, "input-step-128", partial(input_step, host, "resnet18-int8", "int8", 128, rounds))
    results["leaks"] = {"ok": not host.leaks, "live": [str(leak) for leak in host.leaks]}
    return results
