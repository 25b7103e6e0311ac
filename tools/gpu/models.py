# SPDX-License-Identifier: Apache-2.0
"""Models to check with: a ResNet-18 and one that reads a number out of each frame. Needs onnx and numpy only.

ResNet-18 comes from PyTorch where that is installed, else the same layers are written down here.
"""

from __future__ import annotations

import traceback
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
SIZE = 224
NUMBER_SIZE = (64, 96)
PATCH = 8
BASE = 200
MOST = BASE**3
"""Numbers below this can be drawn."""

_RESNET_SPEC = """\
id = "resnet18"
onnx = "resnet18.onnx"
task = "raw"
decoder = "raw"
[input]
size = [224, 224]
resize = "stretch"
mean = [0.485, 0.456, 0.406]
std = [0.229, 0.224, 0.225]
"""
_NUMBER_SPEC = """\
id = "number"
onnx = "number.onnx"
task = "raw"
decoder = "raw"
[input]
size = [64, 96]
color = "bgr"
resize = "stretch"
"""


def export(folder: Path) -> dict[str, Any]:
    """Write both models and their specs into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    how = "torch"
    try:
        _from_torch(folder / "resnet18.onnx")
    except Exception:  # noqa: BLE001 - whatever PyTorch's exporter fails with, there is another way
        traceback.print_exc()
        how = "written down"
        onnx.save(resnet18(), folder / "resnet18.onnx")
    (folder / "resnet18.toml").write_text(_RESNET_SPEC)
    export_number(folder)
    size = (folder / "resnet18.onnx").stat().st_size
    print(f"exported resnet18 ({how}, {size / 1e6:.1f} MB) and number into {folder}")
    return {"resnet18": how, "bytes": size, "ok": True}


def export_number(folder: Path) -> None:
    """Write the model that reads numbers, and its spec."""
    folder.mkdir(parents=True, exist_ok=True)
    onnx.save(number_model(), folder / "number.onnx")
    (folder / "number.toml").write_text(_NUMBER_SPEC)


def draw(frame: NDArray[np.uint8], number: int) -> None:
    """Draw a number into the first and the last corner of a frame."""
    colour = (number % BASE, number // BASE % BASE, number // BASE**2)
    frame[:PATCH, :PATCH] = colour
    frame[-PATCH:, -PATCH:] = colour


def read(digits: NDArray[Any]) -> NDArray[np.int64]:
    """Numbers out of the model's output ``n×6``: ``n×2``, one for each corner."""
    parts = np.rint(digits).astype(np.int64).reshape(-1, 2, 3)
    numbers: NDArray[np.int64] = parts @ np.array([1, BASE, BASE**2], np.int64)
    return numbers


def number_model() -> onnx.ModelProto:
    """Gives the three digits of each corner's number: [N, 3, 64, 96] to [N, 6]."""
    height, width = NUMBER_SIZE
    corners = {"first": (0, 0), "last": (height - PATCH, width - PATCH)}
    constants = [
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array(255, np.float32), "full"),
    ]
    nodes = []
    for name, start in corners.items():
        constants.append(numpy_helper.from_array(np.array(start, np.int64), f"{name}_start"))
        constants.append(numpy_helper.from_array(np.array(start, np.int64) + PATCH, f"{name}_end"))
        nodes.append(helper.make_node("Slice", ["image", f"{name}_start", f"{name}_end", "axes"], [f"{name}_patch"]))
        nodes.append(helper.make_node("ReduceMean", [f"{name}_patch"], [name], axes=[2, 3], keepdims=0))
    nodes.append(helper.make_node("Concat", list(corners), ["both"], axis=1))
    nodes.append(helper.make_node("Mul", ["both", "full"], ["digits"]))
    return _model("number", nodes, constants, ("image", ["n", 3, height, width]), ("digits", ["n", 6]))


def resnet18(seed: int = 0) -> onnx.ModelProto:
    """The layers of ResNet-18 with batch norms folded in and random weights: [N, 3, 224, 224] to [N, 1000]."""
    layers = _Layers(seed)
    flow = layers.conv("image", 3, 64, 7, 2, relu=True)
    flow = layers.node("MaxPool", [flow], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    width = 64
    for number, wider in enumerate((64, 64, 128, 128, 256, 256, 512, 512)):
        stride = 2 if number and wider != width else 1
        short = layers.conv(flow, width, wider, 1, stride) if stride == 2 else flow
        inner = layers.conv(flow, width, wider, 3, stride, relu=True)
        inner = layers.conv(inner, wider, wider, 3, 1, gain=0.5)
        flow, width = layers.node("Relu", [layers.node("Add", [inner, short])]), wider
    flow = layers.node("Flatten", [layers.node("GlobalAveragePool", [flow])])
    weights = [layers.constant((1000, 512), 512, 1.0), layers.constant((1000,), 1000, 1.0)]
    layers.nodes.append(helper.make_node("Gemm", [flow, *weights], ["logits"], transB=1))
    return _model("resnet18", layers.nodes, layers.constants, ("image", ["n", 3, SIZE, SIZE]), ("logits", ["n", 1000]))


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


def _model(
    name: str,
    nodes: list[onnx.NodeProto],
    constants: list[onnx.TensorProto],
    given: tuple[str, list[int | str]],
    result: tuple[str, list[int | str]],
) -> onnx.ModelProto:
    inputs, outputs = ([helper.make_tensor_value_info(one[0], TensorProto.FLOAT, one[1])] for one in (given, result))
    graph = helper.make_graph(nodes, name, inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def _from_torch(path: Path) -> None:
    import torch
    import torchvision  # type: ignore[import-not-found, unused-ignore]

    torch.manual_seed(0)
    model = torchvision.models.resnet18(weights=None)
    with torch.no_grad():
        # A few batches give the batch norms sensible statistics, so that activations stay in FP16's range.
        for _ in range(4):
            model(torch.randn(8, 3, SIZE, SIZE))
    model.eval()
    options: dict[str, Any] = {
        "input_names": ["image"],
        "output_names": ["logits"],
        "dynamic_axes": {"image": {0: "n"}, "logits": {0: "n"}},
        "opset_version": OPSET,
    }
    example = torch.randn(2, 3, SIZE, SIZE)
    try:
        torch.onnx.export(model, (example,), str(path), dynamo=False, **options)
    except TypeError:  # versions before 2.5 have but the one exporter
        torch.onnx.export(model, (example,), str(path), **options)
    onnx.checker.check_model(str(path))
