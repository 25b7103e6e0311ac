# SPDX-License-Identifier: Apache-2.0
"""Models and labels that cannot be used get one clear sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edged.errors import ModelError
from edged.graph.builder import default_opset
from edged.graph.checks import image_input, load_model
from edged.graph.labels import load_labels
from edged.model import ModelSpec

MakeSpec = Callable[..., ModelSpec]
MakeModel = Callable[..., Path]


def refusal(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(path)
    text = str(caught.value)
    assert str(path) in text
    assert caught.value.remedy
    assert "\n" not in text
    return text


def test_a_good_model_is_loaded(save: MakeModel) -> None:
    assert len(load_model(save("classifier")).graph.node) == 3


def test_a_missing_file(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / "no.onnx")


def test_a_folder(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "empty (0 bytes)"),
        (b"\x89PNG\r\n\x1a\n and more", "not ONNX"),
        (b"<html>404 not found</html>", "not ONNX"),
        (b"\x08\x08", "holds no ONNX graph"),
    ],
)
def test_files_that_are_not_onnx(content: bytes, expected: str, tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content)
    assert expected in refusal(path)


@pytest.mark.parametrize("kept", [0.02, 0.3, 0.5, 0.9, 0.99])
def test_a_truncated_model(kept: float, save: MakeModel) -> None:
    path = save("classifier")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    assert "truncated" in refusal(path)


def test_an_invalid_graph(save: MakeModel, tiny: Any) -> None:
    model = tiny()
    model.node("Relu", ["nowhere"], "out")
    assert "the ONNX graph is invalid" in refusal(save(model.model(("out", ["batch", 3]))))


def external(path: Path, weights: str = "model.onnx.data") -> None:
    """Save the model at ``path`` again, with its weights in a file of their own."""
    onnx.save(onnx.load(path), path, save_as_external_data=True, location=weights, size_threshold=0)


def test_weights_in_a_file_of_their_own_are_taken_in(save: MakeModel) -> None:
    path = save("classifier")
    before = numpy_helper.to_array(onnx.load(path).graph.initializer[0])
    external(path)
    model = load_model(path)
    np.testing.assert_array_equal(numpy_helper.to_array(model.graph.initializer[0]), before)
    assert not any(tensor.external_data for tensor in model.graph.initializer)


def test_missing_weights(save: MakeModel) -> None:
    path = save("classifier")
    external(path)
    (path.parent / "model.onnx.data").unlink()
    assert "weights file 'model.onnx.data' is missing" in refusal(path)


def test_truncated_weights(save: MakeModel) -> None:
    path = save("classifier")
    external(path)
    weights = path.parent / "model.onnx.data"
    weights.write_bytes(weights.read_bytes()[:100])
    assert "model.onnx.data" in refusal(path)


def test_weights_beyond_what_one_file_can_hold(save: MakeModel) -> None:
    path = save("classifier")
    external(path)
    with (path.parent / "model.onnx.data").open("r+b") as file:
        file.truncate(1_600_000_000)  # sparse
    assert "1.6 GB of weights; edged takes at most 1.5 GB" in refusal(path)


@pytest.mark.parametrize(("opset", "expected"), [(9, 13), (11, 13), (13, 13), (17, 17), (21, 21)])
def test_operator_sets_are_raised_only_where_they_must_be(opset: int, expected: int, save: MakeModel) -> None:
    assert default_opset(load_model(save("classifier", opset=opset))) == expected


def test_an_operator_set_that_cannot_be_raised(save: MakeModel, tiny: Any) -> None:
    model = tiny(opset=6)
    weight = model.weight("bias", np.ones(3, np.float32))
    model.node("Add", ["images", weight], "out", broadcast=1, axis=1)  # needs shapes that a dynamic batch hides
    assert "has opset 6 and cannot be converted to 13" in refusal(save(model.model(("out", ["batch", 3, 64, 64]))))


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({"dims": ("batch", 1, 64, 64)}, "images [batch, 1, 64, 64] of float32"),
        ({"dims": ("batch", 64, 64, 3)}, "images [batch, 64, 64, 3] of float32"),
        ({"dims": (3, 64, 64)}, "images [3, 64, 64] of float32"),
        ({"dtype": TensorProto.UINT8}, "images [batch, 3, 64, 64] of uint8"),
    ],
)
def test_inputs_that_are_no_image(options: dict[str, Any], found: str, make_spec: MakeSpec, tiny: Any) -> None:
    model = tiny(**options)
    model.node("Identity", ["images"], "out")
    with pytest.raises(ModelError) as caught:
        image_input(model.model(("out", [])), make_spec(decoder="raw"))
    assert "one image input, float32 or float16 [N, 3, H, W]" in str(caught.value)
    assert found in str(caught.value)


def test_several_inputs_are_all_named(make_spec: MakeSpec, tiny: Any) -> None:
    model = tiny()
    model.inputs.append(helper.make_tensor_value_info("sizes", TensorProto.INT64, ["batch", 2]))
    model.node("Identity", ["images"], "out")
    with pytest.raises(ModelError, match=r"found 2 inputs: images \[batch, 3, 64, 64\], sizes \[batch, 2\]"):
        image_input(model.model(("out", [])), make_spec(decoder="raw"))


def test_weights_listed_as_inputs_are_no_inputs(make_spec: MakeSpec, save: MakeModel) -> None:
    model = onnx.load(save("classifier"))
    weight = model.graph.initializer[0]
    model.graph.input.append(helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    assert image_input(model, make_spec(decoder="raw")).name == "images"


def test_another_size_than_the_spec_says(make_spec: MakeSpec, save: MakeModel) -> None:
    with pytest.raises(ModelError, match=r"the spec says input size 320 x 64 .* the model takes 64 x 64"):
        image_input(load_model(save("classifier")), make_spec(decoder="raw", input={"size": [320, 64]}))


def test_a_dynamic_size_needs_a_dynamic_model(make_spec: MakeSpec, save: MakeModel) -> None:
    size = {"min": [64, 64], "opt": [64, 64], "max": [128, 128]}
    with pytest.raises(ModelError, match="input size is dynamic, but the model takes 64 x 64"):
        image_input(load_model(save("classifier")), make_spec(decoder="raw", input={"size": size}))


def labels_file(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"cat\ndog\n", ["cat", "dog"]),
        (b"cat\r\ndog", ["cat", "dog"]),
        (b"\xef\xbb\xbfcat\n dog \n\n\n", ["cat", "dog"]),
        ("stra\u00dfe\nb\u00e4r".encode(), ["stra\u00dfe", "b\u00e4r"]),
    ],
)
def test_labels_are_read(content: bytes, expected: list[str], tmp_path: Path) -> None:
    assert load_labels(labels_file(tmp_path, content), 2) == expected
    assert load_labels(labels_file(tmp_path, content), None) == expected


def test_labels_default_to_class_numbers() -> None:
    assert load_labels(None, 3) == ["0", "1", "2"]
    assert load_labels(None, None) == []


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"cat\n\ndog\n", "line 2 of the labels file is blank"),
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"cat\n", "has 1 names, but the model has 2 classes"),
        (b"a\nb\nc\n", "has 3 names, but the model has 2 classes"),
    ],
)
def test_labels_that_cannot_be_used(content: bytes, expected: str, tmp_path: Path) -> None:
    path = labels_file(tmp_path, content)
    with pytest.raises(ModelError) as caught:
        load_labels(path, 2)
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_missing_labels(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="labels file does not exist"):
        load_labels(tmp_path / "no.txt", 2)
    with pytest.raises(ModelError, match="cannot be read"):
        load_labels(tmp_path, 2)
