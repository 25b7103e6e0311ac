# SPDX-License-Identifier: Apache-2.0
"""The input step against its numpy reference."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edged.graph import reference
from edged.graph.checks import image_input
from edged.graph.inputs import attach_input
from edged.model import InputSpec, ModelSpec


def wrapped(spec: InputSpec, dtype: int = TensorProto.FLOAT, opset: int = 13) -> onnx.ModelProto:
    """The input step in front of a model that returns its image."""
    infos = [helper.make_tensor_value_info(name, dtype, ["batch", 3, "h", "w"]) for name in ("images", "same")]
    graph = helper.make_graph([helper.make_node("Identity", ["images"], ["same"])], "g", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    whole = ModelSpec(id="m", onnx=Path("/m.onnx"), task="raw", decoder="raw", input=spec)
    attach_input(model, image_input(model, whole), spec, "batch")
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model: onnx.ModelProto, frames: NDArray[np.uint8]) -> NDArray[Any]:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    result: NDArray[Any] = session.run(None, {"frames": frames})[0]
    return result


def noise(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(5).integers(0, 256, (*shape, 3), dtype=np.uint8)


def tolerance(spec: InputSpec) -> float:
    """1e-5 of the largest number that takes part: near zero the difference of two large ones keeps no more digits."""
    parts = [(255 / spec.scale + abs(mean)) / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return 1e-5 * max(parts)


extent = st.integers(1, 33)
number = st.floats(-300, 300).map(lambda value: round(value, 3))
positive = st.floats(0.05, 300)


@settings(deadline=None, max_examples=40)
@given(
    size=st.tuples(extent, extent),
    batch=st.integers(1, 3),
    color=st.sampled_from(["rgb", "bgr"]),
    scale=st.one_of(st.just(1.0), st.just(255.0), positive),
    mean=st.one_of(st.just([0.0] * 3), st.lists(number, min_size=3, max_size=3)),
    std=st.one_of(st.just([1.0] * 3), st.lists(positive, min_size=3, max_size=3)),
)
def test_equals_the_reference(
    size: tuple[int, int], batch: int, color: Any, scale: float, mean: list[float], std: list[float]
) -> None:
    spec = InputSpec(size=[*size], color=color, scale=scale, mean=mean, std=std)
    frames = noise(batch, *size)
    found, expected = run(wrapped(spec), frames), reference.input_step(frames, spec)
    assert found.dtype == np.float32
    assert found.shape == (batch, 3, *size)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance(spec))


def test_channels_and_numbers_are_where_they_belong() -> None:
    spec = InputSpec(size=[1, 2], color="rgb", scale=2.0, mean=[1.0, 2.0, 3.0], std=[1.0, 2.0, 4.0])
    blue_green_red = np.array([[[[10, 20, 30], [40, 50, 60]]]], np.uint8)
    expected = [[[[14.0, 29.0]], [[4.0, 11.5]], [[0.5, 4.25]]]]
    np.testing.assert_allclose(run(wrapped(spec), blue_green_red), expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("fields", "kinds"),
    [
        ({"color": "bgr", "scale": 1.0}, ["Cast", "Transpose"]),
        ({"color": "rgb", "scale": 1.0}, ["Cast", "Transpose", "Gather"]),
        ({"color": "bgr", "scale": 255.0}, ["Cast", "Transpose", "Mul"]),
        ({"color": "bgr", "scale": 1.0, "std": [1.0, 2.0, 3.0]}, ["Cast", "Transpose", "Mul"]),
        ({"color": "rgb", "mean": [0.5, 0.5, 0.5]}, ["Cast", "Transpose", "Gather", "BatchNormalization"]),
    ],
)
def test_nothing_is_computed_that_changes_nothing(fields: dict[str, Any], kinds: list[str]) -> None:
    model = wrapped(InputSpec(size=[4, 4], **fields))
    assert [node.op_type for node in model.graph.node] == [*kinds, "Identity"]
    assert all(node.name.startswith("edged/input/") for node in model.graph.node[:-1])


@pytest.mark.parametrize("opset", [13, 15, 17, 18, 21])
def test_every_operator_set_gives_the_same(opset: int) -> None:
    spec = InputSpec(size=[6, 5], mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    frames = noise(2, 6, 5)
    found = run(wrapped(spec, opset=opset), frames)
    np.testing.assert_allclose(found, reference.input_step(frames, spec), rtol=1e-5, atol=tolerance(spec))


def test_half_precision_models_get_half_precision_values_computed_in_single() -> None:
    spec = InputSpec(size=[6, 5], mean=[0.485, 0.456, 0.406], std=[0.229, 0.224, 0.225])
    frames = noise(1, 6, 5)
    found = run(wrapped(spec, TensorProto.FLOAT16), frames)
    assert found.dtype == np.float16
    np.testing.assert_allclose(found, reference.input_step(frames, spec).astype(np.float16), rtol=2e-3)


def test_dynamic_sizes_stay_dynamic() -> None:
    sizes: Any = {"min": [4, 4], "opt": [8, 8], "max": [16, 16]}
    model = wrapped(InputSpec(size=sizes))
    dims = [dim.dim_param or dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert dims == ["batch", "height", "width", 3]
    assert run(model, noise(2, 7, 11)).shape == (2, 3, 7, 11)


def test_a_uint8_tensor_feeds_nothing_but_a_cast(make_spec: Callable[..., ModelSpec]) -> None:
    """TensorRT refuses anything else."""
    model = wrapped(make_spec(decoder="yolox").input)
    assert [node.op_type for node in model.graph.node if "frames" in node.input] == ["Cast"]
