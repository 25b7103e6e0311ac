# SPDX-License-Identifier: Apache-2.0
"""Whole models through prepare(): what comes out, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto

from edged.errors import ModelError
from edged.graph import reference
from edged.graph.prepare import prepare
from edged.model import ModelSpec
from edged.records import TensorSpec

MakeSpec = Callable[..., ModelSpec]
MakeModel = Callable[..., Path]
RunModel = Callable[..., list[NDArray[Any]]]

NORMALISED = {"size": [64, 64], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4]}
DYNAMIC = {"size": {"min": [32, 40], "opt": [64, 64], "max": [96, 120], "multiple": 8}}


def noise(count: int, height: int = 64, width: int = 64) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (count, height, width, 3), dtype=np.uint8)


def classification(make_spec: MakeSpec, path: Path, **fields: Any) -> ModelSpec:
    fields = {"task": "classification", "decoder": "classification", "input": NORMALISED, **fields}
    return make_spec(path, **fields)


@pytest.mark.parametrize("opset", [11, 13, 17, 18, 21])
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
def test_a_prepared_classifier_equals_its_parts(
    opset: int, dtype: int, make_spec: MakeSpec, save: MakeModel, run: RunModel, tmp_path: Path
) -> None:
    path = save("classifier", classes=5, opset=opset, dtype=dtype)
    spec = classification(make_spec, path, output={"activation": "softmax"})
    prepared = prepare(spec, tmp_path / "cache")
    assert (prepared.classes, prepared.fixed_batch, prepared.dynamic) == (5, None, False)
    assert prepared.outputs == [TensorSpec("classes", "float32", (5, 2))]
    assert prepared.labels == ["0", "1", "2", "3", "4"]
    assert prepared.opset == max(opset, 13)
    frames = noise(3)
    half = dtype == TensorProto.FLOAT16
    plain = run(path, images=reference.input_step(frames, spec.input).astype(np.float16 if half else np.float32))
    (found,) = run(Path(prepared.path), frames=frames)
    expected = reference.classification(plain[0], spec.output)
    np.testing.assert_allclose(found, expected, rtol=2e-2 if half else 1e-4)


def test_a_prepared_detector_of_dynamic_size(
    make_spec: MakeSpec, save: MakeModel, run: RunModel, tmp_path: Path
) -> None:
    path = save("yolov8", dims=("n", 3, "h", "w"))
    spec = make_spec(path, decoder="yolov8", input=DYNAMIC, output={"pre_nms": 100})
    prepared = prepare(spec, tmp_path / "cache")
    assert (prepared.input_size, prepared.dynamic) == ((96, 120), True)
    assert prepared.outputs == [TensorSpec("detections", "float32", (100, 6), fixed=False)]
    for height, width in ((32, 40), (96, 120)):
        frames = noise(2, height, width)
        plain = run(path, images=reference.input_step(frames, spec.input))
        (found,) = run(Path(prepared.path), frames=frames)
        assert found.shape == (2, min(100, height * width // 64), 6)
        np.testing.assert_allclose(found[..., 4], reference.yolov8(plain[0], spec.output)[..., 4], rtol=1e-4)


def test_a_prepared_yolox_of_dynamic_size(
    make_spec: MakeSpec, save: MakeModel, run: RunModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny(dims=("n", 3, "h", "w"))
    shape = model.weight("shape", np.array([0, 8, -1], np.int64))
    for stride in (8, 16, 32):
        weights = np.random.default_rng(stride).normal(0, 1 / stride, (8, 3, stride, stride))
        grid = model.node("Conv", ["images", model.weight(f"w{stride}", weights)], f"g{stride}", strides=[stride] * 2)
        model.node("Reshape", [grid, shape], f"c{stride}")
    model.node("Concat", ["c8", "c16", "c32"], "columns", axis=2)
    model.node("Transpose", ["columns"], "rows", perm=[0, 2, 1])
    path = save(model.model(("rows", ["n", "anchors", 8])))
    size = {"min": [32, 40], "opt": [64, 64], "max": [70, 96], "multiple": 32}
    spec = make_spec(path, decoder="yolox", input={"size": size}, output={"pre_nms": 30})
    prepared = prepare(spec, tmp_path / "cache")
    assert prepared.input_size == (64, 96)
    assert prepared.outputs == [TensorSpec("detections", "float32", (30, 6))]  # 42 anchors at 32 x 64 are enough
    for height, width in ((32, 64), (64, 96), (64, 64)):
        frames = noise(2, height, width)
        (plain,) = run(path, images=reference.input_step(frames, spec.input))
        (found,) = run(Path(prepared.path), frames=frames)
        expected = reference.yolox(plain, (height, width), spec.output)
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


def test_a_prepared_segmenter_of_dynamic_size(
    make_spec: MakeSpec, save: MakeModel, run: RunModel, tmp_path: Path
) -> None:
    path = save("segmenter", dims=("n", 3, "h", "w"))
    spec = make_spec(path, task="segmentation", decoder="segmentation", input=DYNAMIC)
    prepared = prepare(spec, tmp_path / "cache")
    assert prepared.outputs == [TensorSpec("mask", "uint8", (12, 15), fixed=False)]
    frames = noise(1, 40, 64)
    plain = run(path, images=reference.input_step(frames, spec.input))
    (found,) = run(Path(prepared.path), frames=frames)
    assert found.shape == (1, 5, 8)
    assert (found == reference.segmentation(plain[0])).mean() > 0.95


def test_raw_outputs_stay_as_they_are(make_spec: MakeSpec, save: MakeModel, run: RunModel, tmp_path: Path) -> None:
    path = save("segmenter")
    spec = make_spec(path, task="raw", decoder="raw", input=NORMALISED)
    prepared = prepare(spec, tmp_path / "cache")
    assert prepared.outputs == [TensorSpec("features", "float32", (4, 8, 8))]
    assert (prepared.classes, prepared.labels) == (None, [])
    frames = noise(2)
    plain = run(path, images=reference.input_step(frames, spec.input))
    np.testing.assert_allclose(run(Path(prepared.path), frames=frames)[0], plain[0], rtol=1e-4, atol=1e-5)


def test_names_that_edged_needs_are_made_free(
    make_spec: MakeSpec, save: MakeModel, run: RunModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny()
    model.node("GlobalAveragePool", [model.conv(3, 8, name="frames")], "detections")
    model.node("Flatten", ["detections"], "classes")
    path = save(model.model(("classes", ["batch", 3])))
    spec = classification(make_spec, path)
    prepared = prepare(spec, tmp_path / "cache")
    plain = run(path, images=reference.input_step(noise(2), spec.input))
    (found,) = run(Path(prepared.path), frames=noise(2))
    np.testing.assert_allclose(found, reference.classification(plain[0], spec.output), rtol=1e-4)


def test_a_batch_fixed_by_habit_is_freed(make_spec: MakeSpec, save: MakeModel, run: RunModel, tmp_path: Path) -> None:
    spec = classification(make_spec, save("classifier", dims=(1, 3, 64, 64)))
    prepared = prepare(spec, tmp_path / "cache")
    assert prepared.fixed_batch is None
    together = run(Path(prepared.path), frames=noise(2))[0]
    single = [run(Path(prepared.path), frames=frame[None])[0] for frame in noise(2)]
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-4)


@pytest.mark.parametrize("declared", [1, 2, "batch"])
@pytest.mark.parametrize("shape", [["n", 4, 64], ["n", -1, 64], ["n4", 64]])
def test_a_batch_fixed_by_a_constant_shape_is_freed(
    declared: Any, shape: list[Any], make_spec: MakeSpec, save: MakeModel, run: RunModel, tiny: Any, tmp_path: Path
) -> None:
    batch = declared if declared != "batch" else 1
    model = tiny(dims=(declared, 3, 64, 64))
    numbers = [{"n": batch, "n4": 4 * batch}.get(extent, extent) for extent in shape]
    rows = model.node("Reshape", [model.conv(4, 8), model.weight("shape", np.array(numbers, np.int64))], "rows")
    if len(shape) == 2:
        rows = model.node("Reshape", [rows, model.weight("back", np.array([batch, 4, 64], np.int64))], "again")
    path = save(model.model((rows, [declared, 4, 64])))
    prepared = prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache")
    assert prepared.fixed_batch is None
    together = run(Path(prepared.path), frames=noise(3))[0]
    assert together.shape == (3, 4, 64)
    single = [run(Path(prepared.path), frames=frame[None])[0] for frame in noise(3)]
    np.testing.assert_allclose(together, np.concatenate(single), rtol=1e-4, atol=1e-5)


def test_a_batch_fixed_by_the_size_of_a_resize_is_freed(
    make_spec: MakeSpec, save: MakeModel, run: RunModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny(dims=(1, 3, 64, 64))
    sizes = model.weight("sizes", np.array([1, 4, 16, 16], np.int64))
    model.node("Resize", [model.conv(4, 8), "", "", sizes], "large", mode="nearest")
    path = save(model.model(("large", [1, 4, 16, 16])))
    prepared = prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache")
    assert prepared.fixed_batch is None
    assert run(Path(prepared.path), frames=noise(5))[0].shape == (5, 4, 16, 16)


@pytest.mark.parametrize("declared", [1, "batch"])
def test_a_batch_that_the_graph_fixes_stays_fixed(
    declared: Any, make_spec: MakeSpec, save: MakeModel, run: RunModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny(dims=(declared, 3, 64, 64))
    # What is put beside the features of each frame is there once.
    token = model.weight("token", np.ones((1, 4, 1, 8), np.float32))
    model.node("Concat", [model.conv(4, 8), token], "rows", axis=2)
    path = save(model.model(("rows", [declared, 4, 9, 8])))
    prepared = prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache")
    assert prepared.fixed_batch == 1
    assert run(Path(prepared.path), frames=noise(1))[0].shape == (1, 4, 9, 8)
    dims = onnx.load(prepared.path).graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_value for dim in dims] == [1, 64, 64, 3]


def test_a_batch_whose_frames_influence_each_other_stays_fixed(
    make_spec: MakeSpec, save: MakeModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny(dims=(1, 3, 64, 64))
    mean = model.node("ReduceMean", [model.conv(4, 8)], "mean", axes=[0], keepdims=1)
    model.node("Sub", ["features", mean], "centred")
    path = save(model.model(("centred", [1, 4, 8, 8])))
    assert prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache").fixed_batch == 1


def test_a_fixed_batch_of_several_frames(make_spec: MakeSpec, save: MakeModel, tiny: Any, tmp_path: Path) -> None:
    model = tiny(dims=(2, 3, 64, 64))
    token = model.weight("token", np.ones((2, 4, 1, 8), np.float32))
    model.node("Concat", [model.conv(4, 8), token], "rows", axis=2)
    path = save(model.model(("rows", [2, 4, 9, 8])))
    assert prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache").fixed_batch == 2


def test_an_output_without_a_batch_is_refused(make_spec: MakeSpec, save: MakeModel, tiny: Any, tmp_path: Path) -> None:
    model = tiny()
    model.node("ReduceSum", [model.conv(4, 8)], "total", keepdims=0)
    path = save(model.model(("total", [])))
    with pytest.raises(ModelError, match=r"first dimension of output total \[\] is not the batch"):
        prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache")


def test_a_model_that_onnx_runtime_cannot_run_is_refused(
    make_spec: MakeSpec, save: MakeModel, tiny: Any, tmp_path: Path
) -> None:
    model = tiny()
    model.node("Reshape", [model.conv(4, 8), model.weight("shape", np.array([0, 5, 5], np.int64))], "rows")
    path = save(model.model(("rows", ["batch", 5, 5])))
    with pytest.raises(ModelError, match="ONNX Runtime cannot"):
        prepare(make_spec(path, task="raw", decoder="raw"), tmp_path / "cache")


def test_labels_must_match_and_leave_nothing_behind(make_spec: MakeSpec, save: MakeModel, tmp_path: Path) -> None:
    labels = tmp_path / "labels.txt"
    labels.write_text("a\nb\n")
    with pytest.raises(ModelError, match="2 names, but the model has 3 classes"):
        prepare(classification(make_spec, save("classifier"), labels=labels), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()
