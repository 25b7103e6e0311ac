# SPDX-License-Identifier: Apache-2.0
"""Layers of real graphs in ONNX Runtime: the demo model, and a small one with Q/DQ nodes and a float island."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.bench.layers import Ceilings, LayerReport, analyse
from edged.bench.layers.ceilings import cpu_ceilings
from edged.bench.layers.facts import facts
from edged.bench.layers.ort_layers import layers_of
from edged.errors import EngineError, InternalError
from edged.graph.prepare import prepare
from edged.graph.work import multiply_adds
from edged.model_file import load_spec

SHAPES = Path(__file__).parents[2] / "edged" / "assets" / "shapes.toml"
CEILINGS = Ceilings(10e9, {"fp32": 100e9}, ("made up",))
SHAPE = (2, 240, 320, 3)


def quantized_model() -> onnx.ModelProto:
    """Frames through an INT8 convolution, a float batch normalisation and another INT8 convolution."""
    numbers = np.random.default_rng(0)
    constants: dict[str, NDArray[Any]] = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(0, np.int8),
        "w1": numbers.integers(-50, 50, (16, 3, 3, 3), np.int8),
        "w2": numbers.integers(-50, 50, (16, 16, 3, 3), np.int8),
        **{name: np.full(16, 1.5, np.float32) for name in ("gamma", "beta", "mean", "var")},
    }
    nodes: list[onnx.NodeProto] = [
        helper.make_node("Cast", ["frames"], ["f"], "cast", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["x0"], "turn", perm=[0, 3, 1, 2]),
    ]
    for number, (given, made) in enumerate((("x0", "y1"), ("b1", "y2")), 1):
        w = f"w{number}"
        for kind, read, written in (
            ("QuantizeLinear", given, f"{given}_q"),
            ("DequantizeLinear", f"{given}_q", f"{given}_d"),
            ("DequantizeLinear", w, f"{w}_d"),
        ):
            nodes.append(helper.make_node(kind, [read, "scale", "zero"], [written], written))
        nodes.append(helper.make_node("Conv", [f"{given}_d", f"{w}_d"], [f"{made}_f"], f"conv{number}"))
        nodes.append(helper.make_node("QuantizeLinear", [f"{made}_f", "scale", "zero"], [f"{made}_q"], f"{made}_q"))
        nodes.append(helper.make_node("DequantizeLinear", [f"{made}_q", "scale", "zero"], [made], made))
        if number == 1:
            nodes.append(helper.make_node("Sigmoid", ["y1"], ["s1"], "sigmoid"))
            nodes.append(helper.make_node("BatchNormalization", ["s1", "gamma", "beta", "mean", "var"], ["b1"], "norm"))
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", 24, 32, 3])],
        [helper.make_tensor_value_info("y2", TensorProto.FLOAT, ["n", 16, 20, 28])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(prepare(load_spec(SHAPES), tmp_path_factory.mktemp("cache")).path)


@pytest.fixture(scope="module")
def found(demo: Path) -> LayerReport:
    return analyse(demo, SHAPE, threads=1, runs=3, ceilings=CEILINGS)


def test_every_multiply_add_of_the_demo_model_is_in_one_layer(found: LayerReport, demo: Path) -> None:
    counts = multiply_adds(onnx.load(demo), SHAPE[0])
    owned = [(name, row.layer) for row in found.rows for name in row.layer.nodes if name in counts]
    assert sorted(name for name, _ in owned) == sorted(counts)
    assert sum(row.layer.macs for row in found.rows) == sum(counts.values())
    assert all(layer.macs == counts[name] and layer.weighted is not None for name, layer in owned)
    assert [layer.weighted.first for _, layer in owned if layer.weighted] == [True] + [False] * (len(counts) - 1)


def test_layers_have_times_types_and_traffic(found: LayerReport) -> None:
    assert sum(row.share for row in found.rows) == pytest.approx(1.0)
    assert all(row.layer.precision and row.layer.nbytes is not None for row in found.rows)
    convolutions = [row for row in found.rows if row.layer.macs]
    assert {row.layer.precision for row in convolutions} == {"fp32"}
    assert found.ceilings.ops_per_s["fp32"] >= max(row.layer.ops_per_s for row in convolutions)
    cast = next(row.layer for row in found.rows if row.layer.kind == "Cast")
    assert cast.precision == "uint8→fp32"
    assert cast.nbytes == 5 * 2 * 240 * 320 * 3
    assert found.layers_ms > 0
    assert found.plain_ms > 0


def test_the_report_reads_as_text_and_as_json(found: LayerReport) -> None:
    lines = found.lines(top=5)
    assert "layers of a batch of 2, onnxruntime, medians of 3 runs" in lines[0]
    assert len([line for line in lines if " Conv " in line]) >= 1
    assert any(line.startswith(f" {len(found.rows) - 5} more") for line in lines)
    assert any("the input step runs as" in line for line in lines)
    told: dict[str, Any] = json.loads(json.dumps(found.as_json()))
    assert len(told["layers"]) == len(found.rows)
    assert told["layers"][0]["share"] == found.rows[0].share
    assert told["ceilings"]["how"][0] == "made up"


def test_int8_layers_and_what_is_left_between_them(tmp_path: Path) -> None:
    path = tmp_path / "quantized.onnx"
    onnx.save(quantized_model(), path)
    report = analyse(path, (2, 24, 32, 3), threads=1, runs=3, ceilings=CEILINGS)
    convolutions = [row for row in report.rows if row.layer.macs]
    assert {(row.layer.precision, row.int8) for row in convolutions} == {("int8", "already")}
    assert sum(row.layer.macs for row in convolutions) == sum(multiply_adds(quantized_model(), 2).values())
    kinds = {finding.kind: finding for finding in report.findings}
    assert any("norm" in name for name in kinds["batch-norm"].layers)
    assert set(kinds["batch-norm"].layers) <= set(kinds["island"].layers)
    assert "in 1 island between narrower layers" in kinds["island"].what


def test_a_profile_without_a_run_is_refused() -> None:
    model = quantized_model()
    with pytest.raises(EngineError, match="holds no run"):
        layers_of([{"name": "model_run", "ts": 1, "cat": "Session"}], model.graph, facts(model, (1, 24, 32, 3)))


def test_nodes_that_run_twice_in_a_run_are_added_up() -> None:
    def events() -> Iterator[dict[str, Any]]:
        arguments = {"op_name": "Add", "input_type_shape": [{"float": [2]}], "output_type_shape": [{"float": [2]}]}
        for run in range(3):
            yield {"cat": "Session", "name": "model_run", "ts": 100 * run, "dur": 90}
            for part in range(2):
                node = {"cat": "Node", "name": "a_kernel_time", "ts": 100 * run + 10 * part, "dur": 1000 * run}
                yield {**node, "args": arguments}

    model = quantized_model()
    (layer,) = layers_of(list(events()), model.graph, facts(model, (1, 24, 32, 3)), warm_up=1)
    assert (layer.ms, layer.spread_ms, layer.nbytes, layer.nodes) == (3.0, 1.0, 16, ())


def test_the_ceilings_of_this_machine() -> None:
    known = cpu_ceilings(1)
    assert known.bytes_per_s is not None
    assert 1e8 < known.bytes_per_s < 1e13
    assert 1e8 < known.ops_per_s["fp32"] < 1e14


def test_an_engine_comes_with_its_gpu(demo: Path) -> None:
    with pytest.raises(InternalError, match="given together"):
        analyse(demo, SHAPE, gpu=object())  # type: ignore[arg-type]
