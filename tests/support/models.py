# SPDX-License-Identifier: Apache-2.0
"""A model that is slow on any machine, for tests that need more frames than can be inferred."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIDE, CHANNELS, LAYERS = 192, 64, 5


def write_slow_model(folder: Path) -> Path:
    """Write a model and its spec: layers of convolutions, about 11 GFLOP a frame; publishes one small tensor.

    Returns:
        Path of the spec.
    """
    # Deterministic, not too regular, and scaled so that nothing overflows in any layer.
    numbers = np.random.RandomState(0)
    nodes, weights, name = [], [], "image"
    for layer in range(LAYERS):
        inputs = CHANNELS if layer else 3
        weight = numbers.standard_normal((CHANNELS, inputs, 3, 3)).astype(np.float32) / np.float32(3 * inputs)
        weights.append(numpy_helper.from_array(weight, f"weight{layer}"))
        nodes.append(helper.make_node("Conv", [name, f"weight{layer}"], [f"map{layer}"], pads=[1, 1, 1, 1]))
        name = f"map{layer}"
    nodes.append(helper.make_node("GlobalMaxPool", [name], ["pooled"]))
    graph = helper.make_graph(
        nodes,
        "slow",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", 3, SIDE, SIDE])],
        [helper.make_tensor_value_info("pooled", TensorProto.FLOAT, ["batch", CHANNELS, 1, 1])],
        initializer=weights,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "slow.onnx")
    spec = folder / "slow.toml"
    spec.write_text(
        f'id = "slow"\nonnx = "slow.onnx"\ntask = "raw"\ndecoder = "raw"\n[input]\nsize = [{SIDE}, {SIDE}]\n'
    )
    return spec
