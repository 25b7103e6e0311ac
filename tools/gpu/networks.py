# SPDX-License-Identifier: Apache-2.0
"""Networks to measure with, layer by layer: batch norms folded in, random weights. Needs onnx and numpy only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
CLASSES = 1000


def resnet18(seed: int = 0, size: int = 224) -> onnx.ModelProto:
    """The layers of ResNet-18: [N, 3, size, size] to [N, 1000]."""
    layers = _Layers(seed)
    flow = layers.stem()
    width = 64
    for number, wider in enumerate((64, 64, 128, 128, 256, 256, 512, 512)):
        stride = 2 if number and wider != width else 1
        short = layers.conv(flow, width, wider, 1, stride) if stride == 2 else flow
        inner = layers.conv(flow, width, wider, 3, stride, relu=True)
        inner = layers.conv(inner, wider, wider, 3, 1, gain=0.5)
        flow, width = layers.node("Relu", [layers.node("Add", [inner, short])]), wider
    return layers.classified("resnet18", flow, width, size)


def resnet50(seed: int = 0, size: int = 224) -> onnx.ModelProto:
    """The layers of ResNet-50, strides in the 3×3 convolutions: [N, 3, size, size] to [N, 1000]."""
    layers = _Layers(seed)
    flow = layers.stem()
    width = 64
    for stage, blocks in enumerate((3, 4, 6, 3)):
        inner, wider = 64 << stage, 256 << stage
        for block in range(blocks):
            stride = 2 if stage and not block else 1
            short = flow if block else layers.conv(flow, width, wider, 1, stride)
            body = layers.conv(flow, width, inner, 1, 1, relu=True)
            body = layers.conv(body, inner, inner, 3, stride, relu=True)
            body = layers.conv(body, inner, wider, 1, 1, gain=0.5)
            flow, width = layers.node("Relu", [layers.node("Add", [body, short])]), wider
    return layers.classified("resnet50", flow, width, size)


def small(size: int) -> onnx.ModelProto:
    """Next to no work, with the input and output of a ResNet: [N, 3, size, size] to [N, 1000]."""
    layers = _Layers(0)
    return layers.classified("small", "image", 3, size)


def fit_head(model: onnx.ModelProto, batches: Iterator[NDArray[np.float32]]) -> None:
    """Have the last layer tell pictures apart: its class number c is "like picture c".

    With random weights all pictures would get the same best class, and any arithmetic would agree on it.

    Args:
        model: of this module; changed in place.
        batches: normalised pictures, ``n×3×H×W``, up to as many as there are classes.
    """
    import onnxruntime

    last = model.graph.node[-1]
    with_features = onnx.ModelProto()
    with_features.CopyFrom(model)
    with_features.graph.output.append(helper.make_tensor_value_info(last.input[0], TensorProto.FLOAT, None))
    session = onnxruntime.InferenceSession(with_features.SerializeToString(), providers=["CPUExecutionProvider"])
    features = np.concatenate([session.run([last.input[0]], {"image": batch})[0] for batch in batches])
    middle = features.mean(axis=0)
    apart = features - middle
    weights = np.zeros((CLASSES, features.shape[1]), np.float32)
    lengths = np.linalg.norm(apart, axis=1, keepdims=True)
    weights[: len(apart)] = 10 * apart / (lengths * lengths.mean() + 1e-12)
    bias = -(weights @ middle)
    for tensor in model.graph.initializer:
        for name, values in ((last.input[1], weights), (last.input[2], bias)):
            if tensor.name == name:
                tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), name))


def written(
    name: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    given: tuple[str, list[int | str]],
    result: tuple[str, list[int | str]],
) -> onnx.ModelProto:
    """A checked model of these nodes."""
    inputs, outputs = ([helper.make_tensor_value_info(one[0], TensorProto.FLOAT, one[1])] for one in (given, result))
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


class _Layers:
    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, kind: str, given: list[str], **attributes: Any) -> str:
        name = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, given, [name], name=f"{kind}{len(self.nodes)}", **attributes))
        return name

    def constant(self, shape: tuple[int, ...], fan: int, gain: float) -> str:
        name = f"w{len(self.constants)}"
        values = self._rng.normal(0, gain * (2 / fan) ** 0.5, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def conv(
        self, flow: str, width: int, wider: int, side: int, stride: int, *, relu: bool = False, gain: float = 1.0
    ) -> str:
        weights = self.constant((wider, width, side, side), width * side * side, gain)
        bias = self.constant((wider,), 1000, 1.0)
        pads = [side // 2] * 4
        flow = self.node("Conv", [flow, weights, bias], strides=[stride, stride], pads=pads)
        return self.node("Relu", [flow]) if relu else flow

    def stem(self) -> str:
        """What all ResNets begin with."""
        flow = self.conv("image", 3, 64, 7, 2, relu=True)
        return self.node("MaxPool", [flow], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def classified(self, name: str, flow: str, width: int, size: int) -> onnx.ModelProto:
        """What they end with, and the whole model."""
        flow = self.node("Flatten", [self.node("GlobalAveragePool", [flow])])
        weights = [self.constant((CLASSES, width), width, 1.0), self.constant((CLASSES,), 1000, 1.0)]
        self.nodes.append(helper.make_node("Gemm", [flow, *weights], ["logits"], transB=1))
        shape: list[int | str] = ["n", 3, size, size]
        return written(name, self.nodes, self.constants, ("image", shape), ("logits", ["n", CLASSES]))
