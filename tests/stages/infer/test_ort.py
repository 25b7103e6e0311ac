# SPDX-License-Identifier: Apache-2.0
"""ONNX Runtime over real rings: in place, gathered, filled up, with outputs of fixed and of varying shape."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from edged.errors import InternalError, ModelError
from edged.records import TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors
from edged.stages.infer.executor import BatchInput
from edged.stages.infer.ort import OnnxRuntimeExecutor, open_session

HEIGHT, WIDTH = 4, 6
SUM = TensorSpec("sum", "float32", (1,))
ROWS = TensorSpec("rows", "float32", (HEIGHT, WIDTH), fixed=False)


def write_graph(path: Path, *, batch: int | str = "batch", rows: int = 1) -> Path:
    """``frames`` to their ``sum`` [N, 1] and to the first channel of every ``rows``-th row, ``rows`` [N, h, W]."""

    def constant(name: str, *values: int) -> onnx.TensorProto:
        return numpy_helper.from_array(np.array(values, np.int64), name)

    nodes = [
        helper.make_node("Cast", ["frames"], ["x"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["x", "all"], ["s"], keepdims=0),
        helper.make_node("Unsqueeze", ["s", "one"], ["sum"]),
        helper.make_node("Slice", ["x", "from", "to", "axes", "steps"], ["c"]),
        helper.make_node("Squeeze", ["c", "last"], ["rows"]),
    ]
    weights = [
        constant("all", 1, 2, 3),
        constant("one", 1),
        constant("from", 0, 0),
        constant("to", 10**6, 1),
        constant("axes", 1, 3),
        constant("steps", rows, 1),
        constant("last", 3),
    ]
    inputs = [helper.make_tensor_value_info("frames", TensorProto.UINT8, [batch, "h", "w", 3])]
    outputs = [
        helper.make_tensor_value_info("sum", TensorProto.FLOAT, [batch, 1]),
        helper.make_tensor_value_info("rows", TensorProto.FLOAT, [batch, "r", "w"]),
    ]
    graph = helper.make_graph(nodes, "sums", inputs, outputs, weights)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


class Rings:
    """A frame ring with known pixels and an output ring."""

    def __init__(self) -> None:
        self.frames = FrameTable.create(4, HEIGHT * WIDTH * 3, live=False)
        self.pixels = FramePixels(self.frames)
        self.outputs = OutputTable.create(OutputLayout(2, 3, (SUM, ROWS)))
        self.tensors = OutputTensors(self.outputs)
        for slot in range(4):
            rng = np.random.default_rng(slot)
            self.pixels.frame(slot, HEIGHT, WIDTH)[...] = rng.integers(0, 256, (HEIGHT, WIDTH, 3))

    def batch(self, *slots: int, height: int = HEIGHT) -> BatchInput:
        frames = [self.pixels.frame(slot, height, WIDTH) for slot in slots]
        return BatchInput(frames, self.pixels.batch(list(slots), height, WIDTH))


class Output:
    """A slot of the output ring, as the pipeline hands it to the executor."""

    def __init__(self, rings: Rings, slot: int, count: int) -> None:
        self._rings, self._slot, self._count = rings, slot, count

    def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
        return self._rings.tensors.view(self._slot, index, self._count, shape)

    def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
        self._rings.outputs.set_shape(self._slot, index, shape)


@pytest.fixture
def rings() -> Iterator[Rings]:
    made = Rings()
    yield made
    made.frames.close()
    made.outputs.close()


def executor(path: Path, fixed_batch: int | None = None) -> OnnxRuntimeExecutor:
    return OnnxRuntimeExecutor(path, [SUM, ROWS], slots=2, max_batch=3, threads=1, fixed_batch=fixed_batch)


@pytest.mark.parametrize("slots", [(0,), (3,), (1, 2), (0, 1, 2), (2, 0), (3, 0, 1)])
@pytest.mark.parametrize("height", [HEIGHT, HEIGHT - 1])
def test_every_frame_gets_its_own_results_wherever_it_lies(
    tmp_path: Path, rings: Rings, slots: tuple[int, ...], height: int
) -> None:
    run = executor(write_graph(tmp_path / "a.onnx"))
    batch = rings.batch(*slots, height=height)
    assert (batch.contiguous is not None) == (len(slots) == 1 or (height == HEIGHT and slots[0] < slots[-1]))
    assert not run.done(1)
    assert not run.wait(1, 0.0)
    run.submit(1, batch, Output(rings, 0, len(slots)))
    assert run.done(1)
    assert run.wait(1, 1.0)
    elapsed = run.collect(1)
    assert not run.done(1)
    assert elapsed.infer_ns > 0
    outputs = rings.tensors.outputs(0, len(slots))
    expected = np.stack(batch.frames).astype(np.float32)
    np.testing.assert_array_equal(outputs["sum"][:, 0], expected.sum((1, 2, 3)))
    np.testing.assert_array_equal(outputs["rows"], expected[..., 0])
    run.close()


def test_two_slots_keep_their_results_apart(tmp_path: Path, rings: Rings) -> None:
    run = executor(write_graph(tmp_path / "a.onnx"))
    run.submit(0, rings.batch(0), Output(rings, 0, 1))
    run.submit(1, rings.batch(1, 2), Output(rings, 1, 2))
    for slot in (1, 0):
        run.collect(slot)
    sums = [float(rings.pixels.frame(slot, HEIGHT, WIDTH).sum()) for slot in range(3)]
    assert rings.tensors.outputs(0, 1)["sum"].ravel().tolist() == sums[:1]
    assert rings.tensors.outputs(1, 2)["sum"].ravel().tolist() == sums[1:]


@pytest.mark.parametrize("slots", [(0,), (1, 2), (2, 1), (0, 1, 2)])
def test_a_model_with_a_fixed_batch_gets_it_filled_up(tmp_path: Path, rings: Rings, slots: tuple[int, ...]) -> None:
    run = executor(write_graph(tmp_path / "a.onnx", batch=3), fixed_batch=3)
    run.warm_up(HEIGHT, WIDTH)
    batch = rings.batch(*slots)
    run.submit(0, batch, Output(rings, 0, len(slots)))
    outputs = rings.tensors.outputs(0, len(slots))
    expected = np.stack(batch.frames).astype(np.float32)
    np.testing.assert_array_equal(outputs["sum"][:, 0], expected.sum((1, 2, 3)))
    np.testing.assert_array_equal(outputs["rows"], expected[..., 0])


def test_an_output_whose_shape_varies_carries_it(tmp_path: Path, rings: Rings) -> None:
    run = executor(write_graph(tmp_path / "a.onnx", rows=2))
    run.submit(0, rings.batch(0, 1), Output(rings, 0, 2))
    assert rings.outputs.shape(0, 1) == (2, WIDTH)
    frames = np.stack(rings.batch(0, 1).frames)
    np.testing.assert_array_equal(rings.tensors.outputs(0, 2)["rows"], frames[:, ::2, :, 0])


def test_an_output_larger_than_its_place_is_refused(tmp_path: Path, rings: Rings) -> None:
    path = write_graph(tmp_path / "a.onnx")
    small = ROWS._replace(shape=(2, WIDTH))
    run = OnnxRuntimeExecutor(path, [SUM, small], slots=1, max_batch=3, threads=1)
    before = bytes(rings.outputs.region.map[rings.outputs.layout.tensor_offset(0, 1) :])
    with pytest.raises(InternalError, match=r"output rows came as \(1, 4, 6\), more than the \(1, 2, 6\) expected"):
        run.submit(0, rings.batch(0), Output(rings, 0, 1))
    assert bytes(rings.outputs.region.map[rings.outputs.layout.tensor_offset(0, 1) :]) == before


@pytest.mark.parametrize("content", [None, b"", b"this is no model", b"\x08\x08\x12"])
def test_a_file_that_onnx_runtime_does_not_take_is_a_model_error(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"ONNX Runtime .* does not take the model") as caught:
        open_session(path, 1)
    assert caught.value.where == str(path)
    assert "\n" not in str(caught.value)
