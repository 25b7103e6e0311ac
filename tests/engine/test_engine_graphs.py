# SPDX-License-Identifier: Apache-2.0
"""What the builder does to graphs: another opset, float16, and the estimate of memory."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.data import write_yolox_spec
from support.engines import write_model

from edged.engine import trial
from edged.engine.footprint import activation_bytes, weight_bytes
from edged.engine.half import half_typed, quantized
from edged.engine.opset import changed_opset
from edged.engine.parsers import parser_opset
from edged.engine.profiles import batches_for, largest_batch
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
    with pytest.raises(EngineError, match=r"opset 18 and cannot be converted to 17.*Mish mean something else there"):
        changed_opset(model, 17)


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
