# SPDX-License-Identifier: Apache-2.0
"""Layers of an engine on the accounting GPU: what is run, what is joined, and that nothing is left behind."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edged.bench.layers import Ceilings, analyse
from edged.bench.layers.ceilings import gpu_ceilings
from edged.bench.layers.facts import facts
from edged.bench.layers.inspector import Inspected, InspectedTensor
from edged.bench.layers.trt_layers import combined
from edged.errors import EngineError
from edged.gpu.engines import LayerTime, TensorInfo
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.engine import Arrays, FakeEngine
from edged.gpu.fake.gpu import batch_range

FRAME = (8, 8, 3)
CEILINGS = Ceilings(1e9, {})


def model() -> onnx.ModelProto:
    """Cast, turn, two convolutions with activations, one batch normalisation."""
    numbers = np.random.default_rng(0)
    constants = {
        "w1": numbers.normal(size=(16, 3, 3, 3)).astype(np.float32),
        "w2": numbers.normal(size=(16, 16, 1, 1)).astype(np.float32),
        **{name: np.ones(16, np.float32) for name in ("gamma", "beta", "mean", "var")},
    }
    nodes = [
        helper.make_node("Cast", ["frames"], ["f"], "edged/input/Cast_0", to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["f"], ["x"], "edged/input/Transpose_1", perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w1"], ["c1"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"], "relu1"),
        helper.make_node("BatchNormalization", ["r1", "gamma", "beta", "mean", "var"], ["n1"], "norm1"),
        helper.make_node("Conv", ["n1", "w2"], ["c2"], "conv2"),
        helper.make_node("GlobalAveragePool", ["c2"], ["out"], "pool"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", *FRAME])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 16, 1, 1])],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def tensor(name: str, shape: list[int], kind: str) -> dict[str, Any]:
    return {"Name": name, "Dimensions": shape, "Format/Datatype": kind}


DESCRIBED = {
    "Layers": [
        {
            "Name": "first",
            "LayerType": "kgen",
            "Metadata": "[ONNX Layer: edged/input/Cast_0]\x1e[ONNX Layer: edged/input/Transpose_1]",
            "Inputs": [tensor("frames", [4, 8, 8, 3], "UINT8")],
            "Outputs": [tensor("x", [4, 3, 8, 8], "Half")],
        },
        {
            "Name": "conv1 + relu1",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("x", [4, 3, 8, 8], "Half")],
            "Outputs": [tensor("r1", [4, 16, 8, 8], "Half")],
            "Weights": {"Type": "Half", "Count": 432},
        },
        {
            "Name": "norm1",
            "LayerType": "Scale",
            "Inputs": [tensor("r1", [4, 16, 8, 8], "Float")],
            "Outputs": [tensor("n1", [4, 16, 8, 8], "Float")],
        },
        {
            "Name": "conv2",
            "LayerType": "CaskConvolution",
            "Inputs": [tensor("n1", [4, 16, 8, 8], "Int8")],
            "Outputs": [tensor("c2", [4, 16, 8, 8], "Half")],
            "Weights": {"Type": "Int8", "Count": 256},
        },
    ]
}


@pytest.fixture
def gpu() -> Iterator[FakeGpu]:
    made = FakeGpu()
    yield made
    made.close()


@pytest.fixture
def engine(gpu: FakeGpu) -> Iterator[FakeEngine]:
    def mean(given: Arrays) -> Arrays:
        frames = given["frames"]
        assert frames.std() > 1, "the engine runs on noise"
        return {"out": np.zeros((len(frames), 16, 1, 1), np.float32)}

    ranges = (batch_range((1, 2, 2), FRAME), batch_range((1, 4, 8), FRAME))
    tensors = [
        TensorInfo("frames", True, "uint8", (-1, *FRAME), ranges),
        TensorInfo("out", False, "float32", (-1, 16, 1, 1)),
    ]
    made = gpu.engine("net", tensors, mean, cost_ms=2.0)
    made.described = DESCRIBED
    yield made
    made.close()


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    onnx.save(model(), tmp_path / "net.onnx")
    return tmp_path / "net.onnx"


def test_an_engine_is_timed_and_given_back(gpu: FakeGpu, engine: FakeEngine, graph: Path) -> None:
    before = gpu.live()
    report = analyse(graph, (4, *FRAME), engine=engine, gpu=gpu, runs=3, ceilings=CEILINGS)
    assert gpu.live() == before
    assert (report.plain_ms, report.layers_ms) == (2.0, 2.0)
    rows = {row.layer.name: row for row in report.rows}
    assert {row.share for row in rows.values()} == {0.25}
    assert rows["conv1 + relu1"].layer.nodes == ("conv1", "relu1")
    assert rows["conv1 + relu1"].layer.macs == 4 * 64 * 16 * 27
    assert rows["conv1 + relu1"].layer.nbytes == 2 * (768 + 4096 + 432)
    assert [row.layer.precision for row in report.rows] == ["fp16", "fp16", "fp32", "int8"]
    assert rows["conv2"].int8 == "already"
    assert rows["first"].int8 == "no"


def test_what_stands_out_is_said(gpu: FakeGpu, engine: FakeEngine, graph: Path) -> None:
    report = analyse(graph, (4, *FRAME), engine=engine, gpu=gpu, runs=1, ceilings=CEILINGS)
    said = {finding.kind: finding.layers for finding in report.findings}
    assert said == {"batch-norm": ("norm1",), "island": ("norm1",), "input-step": ("first",)}


def test_a_batch_that_no_profile_takes_is_refused(gpu: FakeGpu, engine: FakeEngine, graph: Path) -> None:
    with pytest.raises(EngineError, match="no optimisation profile takes 9x8x8x3"):
        analyse(graph, (9, *FRAME), engine=engine, gpu=gpu, ceilings=CEILINGS)


def test_an_engine_of_names_only_is_matched_by_them(gpu: FakeGpu, engine: FakeEngine, graph: Path) -> None:
    engine.described = {
        "Layers": ["Reformatting CopyNode for Input Tensor 0 to conv1", "conv1 + relu1 + norm1", "conv2"]
    }
    report = analyse(graph, (2, *FRAME), engine=engine, gpu=gpu, runs=1, ceilings=CEILINGS)
    reformat, first, second = (row.layer for row in report.rows)
    assert reformat.role == "reformat"
    assert (first.macs, second.macs) == (2 * 64 * 16 * 27, 2 * 64 * 16 * 16)
    # The graph's own types where the inspector tells none: inputs, weights and outputs of what runs as one.
    assert first.nbytes == 4 * (2 * 3 * 64 + 16 * 27 + 4 * 16 + 2 * 16 * 64)
    assert {finding.kind for finding in report.findings} == {"reformat", "no-details"}


def test_bandwidth_is_what_a_copy_within_the_device_reads_and_writes() -> None:
    gpu = FakeGpu(total_bytes=64 << 20)
    begun, ended, stream = gpu.event("b", timing=True), gpu.event("e", timing=True), gpu.stream("s")
    source, target = gpu.device_buffer("source", 1024), gpu.device_buffer("target", 1024)
    host = gpu.host_buffer("host", 1024)
    stream.copy_in(source, 0, host.address, 1024)
    begun.record(stream)
    stream.copy_across(target, source, 1024)
    ended.record(stream)
    assert ended.wait(1)
    one_ms = ended.since(begun)
    for thing in (begun, ended, stream, source, target, host):
        thing.close()
    found = gpu_ceilings(gpu)
    gpu.close()
    if one_ms > 0:
        assert found.bytes_per_s == pytest.approx(2e3 * (8 << 20) / one_ms)
        assert found.how == ("memory: a copy of 8 MiB within the device",)
    else:
        assert found == Ceilings(how=("memory: could not be measured",))


def test_work_belongs_to_one_layer_and_times_to_layers_of_one_name() -> None:
    known = facts(model(), (1, *FRAME))
    layers = [
        Inspected("move", "Reformat", nodes=("conv1",)),
        Inspected("part", "kgen", nodes=("conv1",)),
        Inspected("part", "gemm", nodes=("conv1",), inputs=(InspectedTensor("x", "fp16", None),)),
        Inspected("untimed", "Constant"),
    ]
    runs = [
        [LayerTime("move", 9.0), LayerTime("part", 1.0), LayerTime("part", ms), LayerTime("kernel", 0.5)]
        for ms in (2.0, 3.0, 7.0)
    ]
    found = combined(layers, runs, known)
    assert [(layer.name, layer.ms, layer.macs > 0) for layer in found] == [
        ("move", 9.0, False),
        ("part", 1.0, False),
        ("part", 3.0, True),
        ("kernel", 0.5, False),
        ("untimed", 0.0, False),
    ]
    assert found[2].spread_ms == 2.5
    # Half of what the graph's float32 would take.
    assert found[2].nbytes == 2 * (3 * 64 + 16 * 27 + 16 * 64)
