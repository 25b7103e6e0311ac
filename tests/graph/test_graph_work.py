# SPDX-License-Identifier: Apache-2.0
"""Multiply-adds and traffic of nodes, against counts by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from support.data import write_yolox_spec

from edged.graph.prepare import prepare
from edged.graph.work import multiply_adds, node_multiply_adds, uncounted
from edged.model_file import load_spec

SHAPES = Path(__file__).parents[2] / "edged" / "assets" / "shapes.toml"


def model() -> onnx.ModelProto:
    """[N, 4, 10, 6] through a grouped and a transposed convolution and two products; half the weights are float16."""
    weights: dict[str, NDArray[Any]] = {
        "grouped": np.zeros((6, 2, 3, 3), np.float32),
        "turned": np.zeros((6, 5, 2, 2), np.float32),
        "matrix": np.zeros((7, 300), np.float32),
        "other": np.zeros((7, 3), np.float16),
    }
    nodes = [
        helper.make_node("Conv", ["image", "grouped"], ["a"], name="conv", group=2, strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("ConvTranspose", ["a", "turned"], ["b"], name="up", strides=[2, 2]),
        helper.make_node("Flatten", ["b"], ["c"], name="flat"),
        helper.make_node("Gemm", ["c", "matrix"], ["d"], name="gemm", transB=1),
        helper.make_node("Cast", ["d"], ["e"], to=TensorProto.FLOAT16),
        helper.make_node("MatMul", ["e", "other"], ["f"]),
    ]
    graph = helper.make_graph(
        nodes,
        "work",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 4, "h", "w"])],
        [helper.make_tensor_value_info("f", TensorProto.FLOAT16, ["n", 3])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("batch", [1, 3])
def test_multiply_adds(batch: int) -> None:
    # The grouped convolution writes 6 x 5 x 3 values of 2 x 9 products, the other one spreads each over 5 x 4.
    each = {"conv": 6 * 5 * 3 * 18, "up": 6 * 5 * 3 * 20, "gemm": 300 * 7, "f": 7 * 3}
    assert multiply_adds(model(), batch, (10, 6)) == {name: batch * count for name, count in each.items()}
    assert uncounted(model(), batch, (10, 6)) == []


def test_what_cannot_be_counted_is_named() -> None:
    unknown = model()
    assert set(multiply_adds(unknown, 1)) == {"f"}
    assert uncounted(unknown, 1) == ["conv", "up", "gemm"]


@pytest.mark.parametrize(
    ("kind", "inputs", "made", "expected"),
    [
        ("QLinearConv", [(1, 8, 4, 4), (), (), (16, 8, 1, 1)], (1, 16, 4, 4), 2048),
        ("MatMul", [(2, 5, 3, 4), (4, 6)], (2, 5, 3, 6), 2 * 5 * 3 * 6 * 4),
        ("MatMul", [(4,), (4, 6)], (6,), 24),
        ("FusedMatMul", [(4, 3), (4, 6)], (3, 6), 72),
        ("Gemm", [(4, 3), (4, 6)], (3, 6), 72),
        ("Relu", [(4, 3)], (4, 3), None),
        ("Conv", [(1, 8, 4, 4), None], (1, 16, 4, 4), None),
        ("Conv", [(1, 8, 4, 4)], (1, 16, 4, 4), None),
    ],
)
def test_one_node(kind: str, inputs: list[tuple[int, ...] | None], made: tuple[int, ...], expected: int | None) -> None:
    assert node_multiply_adds(kind, inputs, [made]) == expected


def test_the_demo_model(tmp_path: Path) -> None:
    found = onnx.load(prepare(load_spec(SHAPES), tmp_path).path)
    one, many = multiply_adds(found, 1), multiply_adds(found, 8)
    assert sum(one.values()) == pytest.approx(60.3e6, rel=0.01)
    assert many == {name: 8 * count for name, count in one.items()}


@pytest.mark.data
def test_yolox_nano_has_its_published_work(tmp_path: Path) -> None:
    found = onnx.load(prepare(load_spec(write_yolox_spec(tmp_path)), tmp_path).path)
    counts = multiply_adds(found, 1)
    assert len(counts) == 113
    assert uncounted(found, 1) == []
    # 1.08 GFLOP at 416 x 416, two for each multiply-add; that figure holds a little for normalising and activating too.
    assert 2 * sum(counts.values()) * (416 / 640) ** 2 == pytest.approx(1.08e9, rel=0.05)
