# SPDX-License-Identifier: Apache-2.0
"""The input step: from uint8 frames as captured to the tensor that the model was trained on.

``value = (pixel / scale - mean) / std`` is computed as ``pixel * factor + shift`` with per-channel constants that are
folded in float64. Of the variants measured on ONNX Runtime at 640x640 (batch 1, one core busy) this one is the fastest
that TensorRT takes: cast, transpose, gather, batch normalisation 1.9 ms; with Mul and Add instead of the latter 2.3;
slices and Concat instead of transpose and gather 2.0; arithmetic before the transpose 14; one 1x3 convolution 4.5.
Transposing the uint8 frames first would take 1.1 ms, but TensorRT lets uint8 tensors feed nothing but a Cast.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import helper

from edged.graph.builder import FRAMES, Dimension, GraphBuilder
from edged.graph.checks import ImageInput
from edged.model import DynamicSize, InputSpec


def folded_constants(spec: InputSpec) -> tuple[list[float], list[float]]:
    """Factor and shift for each channel, in the order of ``spec.color``, with ``value = pixel * factor + shift``."""
    factor = [1.0 / (spec.scale * std) for std in spec.std]
    shift = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return factor, shift


def attach_input(model: onnx.ModelProto, image: ImageInput, spec: InputSpec, batch: Dimension) -> None:
    """Replace a model's image input by ``frames``, uint8 [N, H, W, 3] BGR, and what leads from there to the image.

    Args:
        model: changed in place.
        image: the model's own input, float32 or float16 [N, 3, H, W].
        spec: how pixels become values.
        batch: first dimension of ``frames``.
    """
    graph = GraphBuilder(model, "input", batch)
    value = graph.op("Transpose", graph.cast(FRAMES, "float32"), perm=[0, 3, 1, 2])
    if spec.color == "rgb":
        value = graph.op("Gather", value, graph.ints(2, 1, 0), axis=1)
    value = _normalise(graph, value, spec)
    if image.dtype != "float32":
        value = graph.cast(value, image.dtype)
    graph.rename(value, image.name)
    graph.prepend()
    size: list[Dimension] = ["height", "width"] if isinstance(spec.size, DynamicSize) else [*spec.size]
    own = [info for info in model.graph.input if info.name != image.name]
    frames = helper.make_tensor_value_info(FRAMES, onnx.TensorProto.UINT8, [batch, *size, 3])
    del model.graph.input[:]
    model.graph.input.extend([frames, *own])


def _normalise(graph: GraphBuilder, value: str, spec: InputSpec) -> str:
    factor, shift = folded_constants(spec)
    if any(shift):
        # One pass over the pixels where Mul and Add take two. Mean 0, variance 1 and epsilon 0 leave value * a + b.
        zeros, ones = graph.floats(0, 0, 0), graph.floats(1, 1, 1)
        return graph.op(
            "BatchNormalization", value, graph.floats(*factor), graph.floats(*shift), zeros, ones, epsilon=0.0
        )
    if all(one == 1.0 for one in factor):
        return value
    if len(set(factor)) == 1:
        return graph.op("Mul", value, graph.constant(np.array(factor[0], np.float32)))
    return graph.op("Mul", value, graph.constant(np.array(factor, np.float32).reshape(1, 3, 1, 1)))
