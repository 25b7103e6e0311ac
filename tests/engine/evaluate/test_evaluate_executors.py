# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper
from support.evaluation import model_spec, prepared_model

from edged.engine.evaluate.executors import ExecutorRun, tensorrt_run
from edged.gpu.engines import TensorInfo
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import TensorSpec
from edged.stages.infer.ort import OnnxRuntimeExecutor

SIZE = (8, 16)
OUTPUTS = [TensorSpec("sum", "float32", (1, 1)), TensorSpec("bytes", "uint8", (*SIZE, 3), fixed=False)]


def write_graph(path: Path) -> Path:
    """A prepared graph that sums the blue channel up and gives the frames back."""
    nodes = [
        helper.make_node("Cast", ["frames"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["floats", "axes"], ["sums"], keepdims=0),
        helper.make_node("Slice", ["sums", "zero", "one", "axis"], ["blue"]),
        helper.make_node("Unsqueeze", ["blue", "axis"], ["sum"]),
        helper.make_node("Identity", ["frames"], ["bytes"]),
    ]
    constants = {"axes": [1, 2], "zero": [0], "one": [1], "axis": [1]}
    weights = [helper.make_tensor(name, TensorProto.INT64, [len(one)], one) for name, one in constants.items()]
    frames = helper.make_tensor_value_info("frames", TensorProto.UINT8, ["n", "h", "w", 3])
    sums = helper.make_tensor_value_info("sum", TensorProto.FLOAT, ["n", 1, 1])
    again = helper.make_tensor_value_info("bytes", TensorProto.UINT8, ["n", "h", "w", 3])
    graph = helper.make_graph(nodes, "sums", [frames], [sums, again], weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


def some_frames(count: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(count).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def check(outputs: Mapping[str, NDArray[Any]], frames: NDArray[np.uint8]) -> None:
    np.testing.assert_array_equal(outputs["sum"][:, 0, 0], frames[..., 0].sum((1, 2)))
    np.testing.assert_array_equal(outputs["bytes"], frames)


@pytest.mark.parametrize("count", [1, 3, 4, 9])
def test_onnx_runtimes_executor_runs_any_number_of_frames(tmp_path: Path, count: int) -> None:
    path = write_graph(tmp_path / "graph.onnx")
    frames = some_frames(count)
    with ExecutorRun(
        lambda _: OnnxRuntimeExecutor(path, OUTPUTS, slots=1, max_batch=4, threads=1), OUTPUTS, SIZE, 4
    ) as run:
        check(run(frames), frames)
        smaller = some_frames(2, (4, 8))
        check(run(smaller), smaller)


@pytest.mark.parametrize("io", ["copy", "staged"])
def test_a_gpu(io: str) -> None:
    gpu = FakeGpu(can_register=io == "copy")

    def compute(given: Mapping[str, NDArray[Any]]) -> Mapping[str, NDArray[Any]]:
        frames = given["frames"]
        return {"sum": frames[..., 0].sum((1, 2)).astype(np.float32).reshape(-1, 1, 1), "bytes": frames}

    tensors = [
        TensorInfo("frames", True, "uint8", (-1, *SIZE, 3), (batch_range((1, 4, 4), (*SIZE, 3)),)),
        TensorInfo("sum", False, "float32", (-1, 1, 1)),
        TensorInfo("bytes", False, "uint8", (-1, *SIZE, 3)),
    ]
    engine = gpu.engine("sums", tensors, compute)
    outputs = [OUTPUTS[0], TensorSpec("bytes", "uint8", (*SIZE, 3))]
    prepared = prepared_model(model_spec("raw"), outputs)
    with tensorrt_run(gpu, engine, prepared, 4) as run:
        for count in (1, 4, 6, 1):
            frames = some_frames(count)
            check(run(frames), frames)
    engine.close()
    assert gpu.close() == ()
