# SPDX-License-Identifier: Apache-2.0
"""Small networks for tests of the INT8 tools, put together node by node."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.engine.int8.calibrate import Calibration, calibrate
from edged.engine.int8.run import open_onnxruntime
from edged.engine.int8.view import view

SIZE = 16
OPEN = functools.partial(open_onnxruntime, threads=1)


class Net:
    """Nodes behind ``frames``, uint8 [N, 16, 16, 3]; every method returns the name of what it makes."""

    def __init__(self, seed: int = 0, opset: int = 17) -> None:
        self._rng = np.random.default_rng(seed)
        self._nodes: list[onnx.NodeProto] = []
        self._weights: list[TensorProto] = []
        self._opset = opset
        cast = self.op("Cast", "frames", name="edged/input/Cast_0", to=TensorProto.FLOAT)
        moved = self.op("Transpose", cast, name="edged/input/Transpose_1", perm=[0, 3, 1, 2])
        self.image = self.op("Mul", moved, self.weight(np.array(1 / 255)), name="edged/input/Mul_2")

    def weight(self, values: NDArray[Any]) -> str:
        name = f"w{len(self._weights)}"
        self._weights.append(numpy_helper.from_array(values.astype(np.float32), name))
        return name

    def conv_weight(self, shape: tuple[int, ...]) -> str:
        return self.weight(self._rng.normal(0, 0.2, shape))

    def op(self, kind: str, *inputs: str, name: str = "", **attributes: Any) -> str:
        made = f"{name}_out" if name else f"t{len(self._nodes)}"
        self._nodes.append(helper.make_node(kind, list(inputs), [made], name=name, **attributes))
        return made

    def conv(
        self,
        value: str,
        shape: tuple[int, ...],
        name: str,
        *,
        bias: bool = True,
        spread: float = 1.0,
        **attributes: Any,
    ) -> str:
        """A convolution, or another ``kind``; ``spread`` is the ratio of its largest to its smallest filters."""
        kind = attributes.pop("kind", "Conv")
        fan = int(np.prod(shape[1:]))
        weights = self._rng.normal(0, fan**-0.5, shape)
        weights *= np.geomspace(1, spread, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
        inputs = [value, self.weight(weights)]
        if bias:
            channels = shape[0] if kind == "Conv" else shape[1]
            inputs.append(self.weight(self._rng.normal(0, 0.1, channels)))
        return self.op(kind, *inputs, name=name, **attributes)

    def topk(self, scores: str, k: str) -> str:
        """What the output step chooses by."""
        name = "edged/output/TopK_1"
        self._nodes.append(helper.make_node("TopK", [scores, k], [f"{name}_out", f"{name}_index"], name=name))
        return f"{name}_out"

    def model(self, *outputs: str) -> onnx.ModelProto:
        frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["batch", SIZE, SIZE, 3])
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self._nodes, "net", [frames], made, self._weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", self._opset)], ir_version=8)
        inferred = onnx.shape_inference.infer_shapes(model)
        del model.graph.output[:]
        model.graph.output.extend(inferred.graph.output)
        onnx.checker.check_model(model)
        return model


def residual_net(opset: int = 17) -> onnx.ModelProto:
    """Stem, a residual block, a depthwise and a pointwise convolution, a concatenation, a head."""
    net = Net(opset=opset)
    stem = net.op("Relu", net.conv(net.image, (16, 3, 3, 3), "stem", pads=[1, 1, 1, 1]))
    a = net.op("Relu", net.conv(stem, (16, 16, 3, 3), "a", pads=[1, 1, 1, 1]))
    b = net.conv(a, (16, 16, 3, 3), "b", pads=[1, 1, 1, 1], bias=False)
    block = net.op("Relu", net.op("Add", b, stem, name="add"), name="block")
    deep = net.op("Relu", net.conv(block, (16, 1, 3, 3), "deep", group=16, pads=[1, 1, 1, 1]))
    point = net.op("Relu", net.conv(deep, (32, 16, 1, 1), "point"), name="wide")
    joined = net.op("Concat", point, block, name="join", axis=1)
    last = net.op("Relu", net.conv(joined, (24, 48, 1, 1), "last"))
    pooled = net.op("GlobalAveragePool", net.conv(last, (24, 24, 3, 3), "head"), name="pool")
    return net.model(net.op("Flatten", pooled, name="logits"))


def chain(spreads: dict[int, float] | None = None, length: int = 5) -> onnx.ModelProto:
    """Convolutions ``c0`` to ``c<length-1>`` of 16 channels one after another, and a head; some spread widely."""
    net = Net()
    value = net.conv(net.image, (16, 3, 3, 3), "c0", pads=[1, 1, 1, 1])
    for index in range(1, length):
        spread = (spreads or {}).get(index, 1.0)
        value = net.conv(net.op("Relu", value), (16, 16, 1, 1), f"c{index}", spread=spread)
    return net.model(net.conv(net.op("Relu", value), (16, 16, 1, 1), "head"))


def frames(count: int, seed: int = 0) -> list[NDArray[np.uint8]]:
    """Batches of one frame of noise with some structure."""
    rng = np.random.default_rng(seed)
    return [
        (rng.integers(0, 256, (1, SIZE, SIZE, 3)) * np.linspace(0.2, 1, SIZE).reshape(1, -1, 1, 1)).astype(np.uint8)
        for _ in range(count)
    ]


def calibrated(model: onnx.ModelProto, count: int = 8) -> Calibration:
    return calibrate(model, view(model), {"frames": frames(count)}, OPEN)
