# SPDX-License-Identifier: Apache-2.0
"""Every task through the whole daemon, on models whose right answer is known for any picture.

The models look at colour: the mean of each channel (classification, raw) or the strongest channel of each pixel
(segmentation).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from support.daemon import Daemon, predictions, toml

from edged.messages import Prediction
from edged.stages.publish.client import Received, decode_mask, decode_tensors

RED, GREEN, BLUE = (0, 0, 255), (0, 255, 0), (255, 0, 0)  # as OpenCV has them


def write_model(
    path: Path,
    nodes: list[onnx.NodeProto],
    output: list[int | str],
    spatial: list[int | str],
    batch: int | str = "batch",
) -> None:
    shape = [batch, 3, *spatial]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, output)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def write_images(folder: Path, images: dict[str, tuple[int, int, tuple[int, int, int]]]) -> None:
    """Pictures (name → height, width, colour): the colour on the left half, black on the right."""
    folder.mkdir()
    for name, (height, width, colour) in images.items():
        image = np.zeros((height, width, 3), np.uint8)
        image[:, : width // 2] = colour
        assert cv2.imwrite(str(folder / name), image)


IMAGES = {"a.png": (60, 80, RED), "b.png": (60, 80, GREEN), "c.png": (80, 60, BLUE)}
COLOURS = {"a.png": "red", "b.png": "green", "c.png": "blue"}
STRONGEST_COLOUR = {
    "head": {
        "id": "mean", "onnx": "model.onnx", "task": "classification", "decoder": "classification",
        "labels": "labels.txt",
    },
    "input": {"size": [32, 32], "resize": "stretch"},
    "output": {"score_threshold": 0.4},
}  # fmt: skip
"""A model spec for what tells the mean of each channel."""


def run(daemons: Callable[..., Daemon], folder: Path, spec: dict[str, Any], max_batch: int) -> dict[str, Received]:
    """Run a model over the pictures; returns what was published of each by its name."""
    (folder / "labels.txt").write_text("red\ngreen\nblue\n")
    write_images(folder / "images", IMAGES)
    head = "".join(f'{key} = "{value}"\n' for key, value in spec["head"].items())
    sections = {name: section for name, section in spec.items() if name != "head"}
    (folder / "spec.toml").write_text(head + toml(sections))
    daemon = daemons(
        {
            "sources": [{"name": "pictures", "uri": f"dir://{folder}/images"}],
            "model": {"spec": str(folder / "spec.toml")},
            "engine": {"max_batch": max_batch},
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    found: dict[str, Received] = {}
    with daemon.subscriber("v1/predictions/") as subscriber:
        for received in predictions(subscriber):
            assert isinstance(received.message, Prediction)
            assert isinstance(received.message.frame.file, str)
            found[received.message.frame.file] = received
            if len(found) == len(IMAGES):
                break
    assert daemon.wait(10) == 0, daemon.output
    assert set(found) == set(IMAGES), daemon.output
    return found


def prediction(received: Received) -> Prediction:
    assert isinstance(received.message, Prediction)
    return received.message


@pytest.mark.parametrize("max_batch", [1, 3])
def test_classification(daemons: Callable[..., Daemon], tmp_path: Path, max_batch: int) -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["out"]),
    ]
    write_model(tmp_path / "model.onnx", nodes, ["batch", 3], [32, 32])
    found = run(daemons, tmp_path, STRONGEST_COLOUR, max_batch)
    for name, label in COLOURS.items():
        classes = prediction(found[name]).classes
        assert isinstance(classes, list)
        assert [(each.label, round(each.score, 1)) for each in classes] == [(label, 0.5)]


@pytest.mark.parametrize("max_batch", [1, 3])
def test_segmentation_with_a_size_that_follows_the_source(
    daemons: Callable[..., Daemon], tmp_path: Path, max_batch: int
) -> None:
    bias = helper.make_node("Constant", [], ["bias"], value_floats=[0.1, 0.1, 0.1])
    nodes = [
        bias,
        helper.make_node("Constant", [], ["shape"], value_ints=[1, 3, 1, 1]),
        helper.make_node("Reshape", ["bias", "shape"], ["shaped"]),
        helper.make_node("Add", ["image", "shaped"], ["out"]),
    ]
    write_model(tmp_path / "model.onnx", nodes, ["batch", 3, "h", "w"], ["h", "w"])
    spec = {
        "head": {
            "id": "strongest", "onnx": "model.onnx", "task": "segmentation", "decoder": "segmentation",
            "labels": "labels.txt",
        },
        "input": {"resize": "letterbox"},
        "input.size": {"min": [32, 32], "opt": [64, 64], "max": [128, 128], "multiple": 16},
    }  # fmt: skip
    found = run(daemons, tmp_path, spec, max_batch)
    for name, (height, width, _) in IMAGES.items():
        mask = prediction(found[name]).mask
        assert not isinstance(mask, type(None))
        classes = decode_mask(found[name])
        assert (classes.shape[0] > classes.shape[1]) == (height > width)  # the grid follows the picture's aspect
        left = classes[:, : classes.shape[1] // 2 - 2]
        assert (left == "abc".index(name[0])).all()
    assert prediction(found["c.png"]).mask.box == (0.0, 0.0, 60.0, 80.0)  # type: ignore[union-attr]


def test_raw_tensors_arrive_as_they_left_the_model(daemons: Callable[..., Daemon], tmp_path: Path) -> None:
    nodes = [helper.make_node("ReduceMean", ["image"], ["out"], axes=[2], keepdims=0)]
    write_model(tmp_path / "model.onnx", nodes, ["batch", 3, 32], [32, 32])
    spec = {
        "head": {"id": "columns", "onnx": "model.onnx", "task": "raw", "decoder": "raw"},
        "input": {"size": [32, 32], "resize": "stretch"},
    }
    found = run(daemons, tmp_path, spec, 1)
    tensors = decode_tensors(found["b.png"])
    assert list(tensors) == ["out"]
    assert tensors["out"].shape == (3, 32)
    assert tensors["out"].dtype == np.float32
    green = np.asarray(tensors["out"][1], dtype=np.float32)
    np.testing.assert_allclose(green[:14], 1.0, atol=0.01)
    np.testing.assert_allclose(green[18:], 0.0, atol=0.01)


def test_a_model_with_a_fixed_batch_runs_with_fewer_frames(daemons: Callable[..., Daemon], tmp_path: Path) -> None:
    """Two frames at a time is all this model takes; three pictures make one full and one filled-up batch."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["means"]),
        helper.make_node("Constant", [], ["nothing"], value=numpy_helper.from_array(np.zeros((2, 3), np.float32))),
        helper.make_node("Add", ["means", "nothing"], ["out"]),
    ]
    write_model(tmp_path / "model.onnx", nodes, [2, 3], [32, 32], batch=2)
    found = run(daemons, tmp_path, STRONGEST_COLOUR, 8)
    for name, label in COLOURS.items():
        classes = prediction(found[name]).classes
        assert isinstance(classes, list)
        assert [each.label for each in classes] == [label]
    assert max(prediction(each).batch for each in found.values()) <= 2
