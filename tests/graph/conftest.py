# SPDX-License-Identifier: Apache-2.0
"""Tiny models, built node by node, and decoders run on tensors made by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.graph.builder import FRAMES, GraphBuilder
from edged.graph.outputs.base import ModelOutput, find_decoder
from edged.model import ModelSpec

Arrays = list[NDArray[Any]]
MakeSpec = Callable[..., ModelSpec]
MakeModel = Callable[..., Path]
RunModel = Callable[..., Arrays]


def spec_of(onnx_file: Path = Path("/nowhere/model.onnx"), **fields: Any) -> ModelSpec:
    """A model spec; ``output`` and ``input`` fields are given as mappings."""
    task = fields.pop("task", "detection")
    fields.setdefault("input", {"size": [64, 64]})
    return ModelSpec.model_validate({"id": "tiny", "onnx": onnx_file, "task": task, **fields})


def run_onnx(model: Path | bytes, **feeds: NDArray[Any]) -> Arrays:
    """Run a model file, or its bytes, in ONNX Runtime."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 2
    content = model.read_bytes() if isinstance(model, Path) else model
    results: Arrays = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"]).run(None, feeds)
    return results


def run_decoder(
    spec: ModelSpec, *tensors: NDArray[Any], opset: int = 13, smallest: int | None = None, frames: Any = None
) -> Arrays:
    """Attach a spec's decoder to tensors that stand for a model's outputs and run it.

    ``smallest`` overrides the first length at the smallest input size; ``frames`` feeds the shape of a dynamic input.
    """
    names = [f"out{index}" for index in range(len(tensors))]
    kinds = [int(helper.np_dtype_to_tensor_dtype(tensor.dtype)) for tensor in tensors]
    inputs = [
        helper.make_tensor_value_info(name, kind, ["batch", *(f"{name}_{axis}" for axis in range(tensor.ndim - 1))])
        for name, kind, tensor in zip(names, kinds, tensors, strict=True)
    ]
    feeds = dict(zip(names, tensors, strict=True))
    if frames is not None:
        inputs.append(helper.make_tensor_value_info(FRAMES, TensorProto.UINT8, ["batch", "height", "width", 3]))
        feeds[FRAMES] = frames
    graph = helper.make_graph([], "decoder", inputs, [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    outputs = []
    for name, tensor in zip(names, tensors, strict=True):
        shape = tensor.shape[1:]
        low = shape if smallest is None else (smallest, *shape[1:])
        outputs.append(ModelOutput(name, str(tensor.dtype), ("batch", *shape), low, shape, low == shape))
    decoder = find_decoder(spec)
    decoder.check(outputs, spec)
    builder = GraphBuilder(model, "output")
    specs = decoder.attach(builder, outputs, spec)
    builder.append()
    onnx.checker.check_model(model, full_check=True)
    results = run_onnx(model.SerializeToString(), **feeds)
    assert [info.name for info in model.graph.output] == [one.name for one in specs]
    for one, result in zip(specs, results, strict=True):
        assert str(result.dtype) == one.dtype
        assert result.shape[1:] == one.shape or not one.fixed
    return results


class TinyModel:
    """A model of few nodes on an image input ``images``."""

    def __init__(
        self, *, dtype: int = TensorProto.FLOAT, dims: tuple[Any, ...] = ("batch", 3, 64, 64), opset: int = 13
    ) -> None:
        self.dtype = dtype
        self.inputs = [helper.make_tensor_value_info("images", dtype, list(dims))]
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, values: NDArray[Any]) -> str:
        wanted = helper.tensor_dtype_to_np_dtype(self.dtype) if values.dtype.kind == "f" else values.dtype
        self.weights.append(numpy_helper.from_array(values.astype(wanted), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=f"user_{output}", **attributes))
        return output

    def conv(self, channels: int, stride: int = 1, name: str = "features") -> str:
        """A convolution with fixed pseudo-random weights, kernel as wide as its stride."""
        values = np.random.default_rng(1).normal(0, 0.2, (channels, 3, stride, stride))
        return self.node("Conv", ["images", self.weight("w", values)], name, strides=[stride, stride])

    def model(self, *outputs: tuple[str, list[Any]], kind: int | None = None) -> onnx.ModelProto:
        infos = [helper.make_tensor_value_info(name, kind or self.dtype, dims) for name, dims in outputs]
        graph = helper.make_graph(self.nodes, "tiny", self.inputs, infos, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def classifier(classes: int = 3, **options: Any) -> onnx.ModelProto:
    """Pooled features of a convolution: [N, C]."""
    tiny = TinyModel(**options)
    pooled = tiny.node("GlobalAveragePool", [tiny.conv(classes, 8)], "pooled")
    tiny.node("Flatten", [pooled], "logits")
    return tiny.model(("logits", ["batch", classes]))


def segmenter(classes: int = 4, **options: Any) -> onnx.ModelProto:
    """Scores at an eighth of the input size: [N, C, h, w]."""
    tiny = TinyModel(**options)
    tiny.conv(classes, 8)
    return tiny.model(("features", ["batch", classes, "h", "w"]))


def yolov8_like(classes: int = 3, **options: Any) -> onnx.ModelProto:
    """One column for each cell of stride 8: [N, 4 + C, A]."""
    tiny = TinyModel(**options)
    shape = tiny.weight("shape", np.array([0, 4 + classes, -1], np.int64))
    tiny.node("Reshape", [tiny.conv(4 + classes, 8), shape], "columns")
    return tiny.model(("columns", ["batch", 4 + classes, "anchors"]))


@pytest.fixture
def make_spec() -> MakeSpec:
    return spec_of


@pytest.fixture
def decode() -> RunModel:
    return run_decoder


@pytest.fixture
def run() -> RunModel:
    return run_onnx


@pytest.fixture
def save(tmp_path: Path) -> MakeModel:
    """Save a model of the kind ``classifier``, ``segmenter`` or ``yolov8``, or one given, and return its path."""

    def save_model(kind: str | onnx.ModelProto = "classifier", name: str = "model.onnx", **options: Any) -> Path:
        makers = {"classifier": classifier, "segmenter": segmenter, "yolov8": yolov8_like}
        model = kind if isinstance(kind, onnx.ModelProto) else makers[kind](**options)
        onnx.save(model, tmp_path / name)
        return tmp_path / name

    return save_model


@pytest.fixture
def tiny() -> type[TinyModel]:
    return TinyModel
