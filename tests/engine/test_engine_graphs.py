# SPDX-License-Identifier: Apache-2.0
"""What the builder does to graphs: another opset, float16, and the estimate of memory."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from support.data import write_yolox_spec
from support.engines import write_model

from edged.engine import trial
from edged.engine.footprint import activation_bytes, weight_bytes
from edged.engine.half import half_typed, quantized
from edged.engine.opset import changed_opset
from edged.engine.parsers import parser_opset
from edged.engine.profiles import batches_for, largest_batch
from edged.engine.trt_graph import name_kernels
from edged.errors import EngineError
from edged.graph.builder import default_opset
from edged.graph.prepare import prepare
from edged.model_file import load_spec

SHAPES = Path(__file__).parents[2] / "edged" / "assets" / "shapes.toml"


def prepared(spec: Path, cache: Path) -> tuple[onnx.ModelProto, tuple[int, int]]:
    found = prepare(load_spec(spec), cache)
    return onnx.load(found.path), found.input_size


def outputs(model: onnx.ModelProto, size: tuple[int, int]) -> dict[str, NDArray[Any]]:
    return trial.run(model.SerializeToString(), 2, size, "test")


@pytest.mark.parametrize(
    ("product", "version", "opset"),
    [
        ("tensorrt", "8.6.0", 17),
        ("tensorrt", "10.3.0", 20),
        ("tensorrt", "10.13.3.9", 22),
        ("tensorrt", "11.4.0.106", 24),
        ("tensorrt", "7.2.1", 17),
        ("tensorrt_rtx", "1.7.1.116", 22),
    ],
)
def test_what_a_parser_takes(product: str, version: str, opset: int) -> None:
    assert parser_opset(product, version) == opset


def test_a_lower_opset_computes_the_same(tmp_path: Path) -> None:
    model, size = prepared(write_model(tmp_path, opset=21), tmp_path)
    for target in (20, 17, 14):
        lowered = changed_opset(model, target)
        assert default_opset(lowered) == target
        assert trial.same(outputs(model, size), outputs(lowered, size))
    assert default_opset(model) == 21


def test_an_operator_without_counterpart_is_named(tmp_path: Path) -> None:
    model, _ = prepared(write_model(tmp_path, opset=18, operator="Mish"), tmp_path)
    with pytest.raises(EngineError, match=r"opset 18 and cannot be converted to 17.*Mish means something else there"):
        changed_opset(model, 17)


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "outputs"),
    [
        ("Split", ["image"], {"axis": 1, "num_outputs": 3}, ["y", "b", "c"]),
        ("Pad", ["image", "pads"], {}, ["y"]),
        ("ReduceMean", ["image", "axes"], {"keepdims": 1}, ["y"]),
        ("HardSwish", ["image"], {}, ["y"]),
        ("AveragePool", ["image"], {"kernel_shape": [2, 2]}, ["y"]),
    ],
)
def test_operators_that_only_gained_words_are_lowered(
    kind: str, inputs: list[str], attributes: dict[str, Any], outputs: list[str], tmp_path: Path
) -> None:
    model = one_node_model(helper.make_node(kind, inputs, outputs, name="node", **attributes), tmp_path)
    lowered = changed_opset(model, 17)
    assert default_opset(lowered) == 17
    assert {entry.domain for entry in lowered.opset_import} == {""}
    assert trial.same(outputs_of(model), outputs_of(lowered))


@pytest.mark.parametrize(
    ("kind", "inputs", "attributes", "words"),
    [
        ("Pad", ["image", "pads", "", "axes"], {}, "Pad means something else there"),
        ("Resize", ["image", "", "scales"], {"mode": "linear", "antialias": 1}, "cannot be converted to 17"),
        ("Gelu", ["image"], {}, "Gelu means something else there"),
    ],
)
def test_operators_that_say_more_than_an_older_opset_can_are_refused(
    kind: str, inputs: list[str], attributes: dict[str, Any], words: str, tmp_path: Path
) -> None:
    node = helper.make_node(kind, inputs, ["y"], name="node", **attributes)
    pads = [1, 1, 1, 1] if "axes" in inputs else [0, 0, 1, 1, 0, 0, 1, 1]
    with pytest.raises(EngineError, match=words):
        changed_opset(one_node_model(node, tmp_path, pads), 17)


def one_node_model(
    node: onnx.NodeProto, folder: Path, pads: Sequence[int] = (0, 0, 1, 1, 0, 0, 1, 1)
) -> onnx.ModelProto:
    """A prepared graph around one node of opset 22."""
    constants = [
        numpy_helper.from_array(np.array(pads, np.int64), "pads"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
        numpy_helper.from_array(np.array([1, 1, 0.5, 0.5], np.float32), "scales"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, 32, 48])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "c", "h", "w"])
    used = [tensor for tensor in constants if tensor.name in node.input]
    graph = helper.make_graph([node], "one", [image], [result], used)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10), folder / "one.onnx")
    spec = folder / "one.toml"
    spec.write_text('id = "one"\nonnx = "one.onnx"\ntask = "raw"\ndecoder = "raw"\n[input]\nsize = [32, 48]\n')
    return prepared(spec, folder)[0]


def outputs_of(model: onnx.ModelProto) -> dict[str, NDArray[Any]]:
    return outputs(model, (32, 48))


@pytest.mark.parametrize(
    ("scale", "mean", "std"),
    [
        (255.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        (255.0, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        (1.0, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (1.0, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
        (127.5, (1.0, 1.0, 1.0), (1.0, 1.0, 1.0)),
    ],
)
def test_float16_is_fine_enough_for_the_input_step(
    scale: float, mean: tuple[float, ...], std: tuple[float, ...], tmp_path: Path
) -> None:
    """Every value of a pixel, in float16 as a strongly typed builder gets it: 20 times better than is asked for."""
    model = one_node_model(helper.make_node("Identity", ["image"], ["y"], name="node"), tmp_path)
    spec = tmp_path / "one.toml"
    spec.write_text(f"{spec.read_text()}scale = {scale}\nmean = {list(mean)}\nstd = {list(std)}\n")
    model, size = prepared(spec, tmp_path)
    exact, half = outputs(model, size)["y"], outputs(half_typed(model), size)["y"]
    assert np.linalg.norm(exact - half) < 5e-4 * np.linalg.norm(exact)


def test_another_result_is_seen() -> None:
    one = {"a": np.array([1.0, 2.0], np.float32)}
    assert trial.same(one, {"a": np.array([1.0, 2.00001], np.float32)})
    assert not trial.same(one, {"a": np.array([1.0, 2.1], np.float32)})
    assert not trial.same(one, {"a": np.array([1.0, 2.0], np.float64)})
    assert not trial.same(one, {"a": np.array([1.0], np.float32)})
    assert not trial.same(one, {"b": one["a"]})


@pytest.mark.parametrize("is_quantized", [False, True])
def test_float16_keeps_the_output_step_and_the_result(tmp_path: Path, is_quantized: bool) -> None:
    model, size = prepared(write_model(tmp_path, quantized=is_quantized), tmp_path)
    assert quantized(model) == is_quantized
    half = half_typed(model)
    kinds = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    assert kinds["w"] == TensorProto.FLOAT16
    assert {kind for name, kind in kinds.items() if name.startswith("edged/output/")} <= {
        TensorProto.FLOAT,
        TensorProto.INT64,
    }
    if is_quantized:
        assert kinds["scale"] == TensorProto.FLOAT16
        assert default_opset(half) >= 19
    old, new = outputs(model, size)["classes"], outputs(half, size)["classes"]
    assert new.dtype == np.float32
    assert np.linalg.norm(old - new) < 1e-2 * np.linalg.norm(old)


def test_float16_of_a_detector_keeps_coordinates_finer_than_float16_has_them(tmp_path: Path) -> None:
    model, size = prepared(SHAPES, tmp_path)
    half = half_typed(model)
    found = outputs(half, size)["detections"][..., :4]
    kept = outputs(model, size)["detections"][..., :4]
    # The output step works in float32 on what it gets: sums of coordinates are not rounded to float16 again.
    assert np.any(found.astype(np.float16).astype(np.float32) != found)
    assert abs(float(found.mean() - kept.mean())) < 0.5


@pytest.mark.data
def test_a_real_detector_in_float16_still_runs(tmp_path: Path) -> None:
    model, size = prepared(write_yolox_spec(tmp_path), tmp_path)
    old, new = outputs(model, size)["detections"], outputs(half_typed(model), size)["detections"]
    assert np.allclose(old[..., 4].max(), new[..., 4].max(), rtol=2e-2)


def test_memory_of_a_frame_is_what_is_alive_at_once() -> None:
    """frames -> a -> b -> c, and d = a + c: while d is made, a, c and d are alive, and before it a, b and c."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["a"], to=TensorProto.FLOAT),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Relu", ["b"], ["c"]),
        helper.make_node("Add", ["a", "c"], ["d"]),
        helper.make_node("ReduceMax", ["d"], ["top"], keepdims=0),
    ]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", "h", "w", 3])
    top = helper.make_tensor_value_info("top", TensorProto.FLOAT, [])
    weights = [helper.make_tensor("unused", TensorProto.FLOAT, [10], [0.0] * 10)]
    graph = helper.make_graph(nodes, "chain", [frames], [top], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    one = 10 * 20 * 3 * 4
    assert activation_bytes(model, (10, 20)) == 3 * one
    assert activation_bytes(model, (20, 20)) == 6 * one
    assert weight_bytes(model) == 40
    assert model.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "n"


@pytest.mark.parametrize(
    ("given", "limit", "fixed", "expected"),
    [
        (None, None, None, ((1, 4, 8),)),
        (((1, 1, 1),), None, None, ((1, 1, 1),)),
        (None, 1, None, ((1, 1, 1),)),
        (((1, 4, 8),), 64, None, ((1, 32, 64),)),
        (None, None, 4, ((4, 4, 4),)),
    ],
)
def test_batches(given: Any, limit: int | None, fixed: int | None, expected: Any) -> None:
    assert batches_for(given, limit, fixed) == (expected, "")


def test_a_fixed_batch_wins_and_says_so() -> None:
    assert batches_for(((1, 4, 8),), None, 4)[1].startswith("the model takes batches of 4 only")
    assert batches_for(None, 8, 4)[1].startswith("the model takes batches of 4 only")


def test_the_largest_batch_that_fits() -> None:
    assert largest_batch(1000, 0, 100) == 8
    assert largest_batch(1000, 200, 100) == 8
    assert largest_batch(1000, 201, 100) == 4
    assert largest_batch(1000, 5000, 100) == 1
    assert largest_batch(1 << 40, 0, 1) == 128


def test_words_that_say_nothing_do_not_stop_the_way_down() -> None:
    # PyTorch's newer exporter writes this attribute out, which opset 17 does not know.
    reduced = helper.make_node("ReduceMean", ["x", "axes"], ["y"], keepdims=0, noop_with_empty_axes=0)
    given = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 4, 4])
    result = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 3])
    axes = numpy_helper.from_array(np.array([2, 3], np.int64), "axes")
    graph = helper.make_graph([reduced], "g", [given], [result], [axes])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    lowered = changed_opset(model, 17)
    (node,) = (node for node in lowered.graph.node if node.op_type == "ReduceMean")
    assert {attribute.name for attribute in node.attribute} == {"keepdims", "axes"}


def test_convolutions_behind_q_dq_say_how_large_their_kernels_are() -> None:
    scale = numpy_helper.from_array(np.array(0.1, np.float32), "scale")
    weights = numpy_helper.from_array(np.ones((4, 3, 5, 3), np.float32), "w")
    made = [
        helper.make_node("QuantizeLinear", ["w", "scale"], ["w_q"]),
        helper.make_node("DequantizeLinear", ["w_q", "scale"], ["w_dq"]),
        helper.make_node("Conv", ["x", "w_dq"], ["y"], name="quantized"),
        helper.make_node("Conv", ["x", "w"], ["z"], name="plain"),
        helper.make_node("Conv", ["x", "w_dq"], ["v"], name="named", kernel_shape=[5, 3]),
    ]
    graph = helper.make_graph(made, "g", [], [], [scale, weights])
    model = helper.make_model(graph)
    assert name_kernels(model) == 1
    attributes = {node.name: {one.name: list(one.ints) for one in node.attribute} for node in model.graph.node[2:]}
    assert attributes == {"quantized": {"kernel_shape": [5, 3]}, "plain": {}, "named": {"kernel_shape": [5, 3]}}
