# SPDX-License-Identifier: Apache-2.0
"""The trained models still do what they were trained for; where PyTorch is, training and export still run."""

from __future__ import annotations

import importlib.util
import runpy
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from edged.graph.prepare import prepare
from edged.model_file import load_spec
from tools.models import digits, scenes, segments
from tools.models.folders import ASSETS

TOOLS = Path(__file__).resolve().parents[2] / "tools"


def answers(name: str, frames: NDArray[np.uint8], cache: Path) -> NDArray[np.generic]:
    """What a model's prepared graph says of frames."""
    prepared = prepare(load_spec(ASSETS / f"{name}.toml"), cache)
    session = onnxruntime.InferenceSession(prepared.path, providers=["CPUExecutionProvider"])
    result: NDArray[np.generic] = session.run(None, {"frames": frames})[0]
    return result


@pytest.mark.skipif(importlib.util.find_spec("sklearn") is None, reason="the digits come with scikit-learn")
def test_digits_are_told(tmp_path: Path) -> None:
    pictures = list(digits.held_out())
    found = answers("digits", np.stack([image for image, _ in pictures]), tmp_path)
    right = found[:, 0, 1] == [class_id for _, class_id in pictures]
    assert len(right) == 1097
    assert np.mean(right) >= 0.97


def test_shapes_are_segmented(tmp_path: Path) -> None:
    drawn = [scenes.scene(seed, segments.SIDE) for seed in segments.HELD_OUT_SEEDS[:6]]
    found = answers("segments", np.stack([image for image, _ in drawn]), tmp_path)
    assert found.shape == (6, 513, 513)
    classes = len(scenes.LABELS)
    counts = sum(
        segments.confusion(truth, mask.astype(np.uint8), classes) for (_, truth), mask in zip(drawn, found, strict=True)
    )
    assert segments.mean_iou(np.asarray(counts)) >= 0.7


@pytest.mark.parametrize(("name", "spec", "labels"), [
    ("digits", digits.SPEC, digits.LABELS), ("segments", segments.SPEC, scenes.LABELS),
])  # fmt: skip
def test_assets_are_what_the_tools_write(name: str, spec: str, labels: tuple[str, ...]) -> None:
    assert (ASSETS / f"{name}.toml").read_text() == spec
    assert (ASSETS / f"{name}.names").read_text().splitlines() == list(labels)
    network = onnx.load(ASSETS / f"{name}.onnx")
    assert network.opset_import[0].version == 17
    assert network.graph.input[0].type.tensor_type.shape.dim[0].dim_param == "batch"
    assert "BatchNormalization" not in {node.op_type for node in network.graph.node}  # folded into convolutions
    assert (ASSETS / f"{name}.onnx").stat().st_size < 2_000_000
    assert str(TOOLS.parent) not in (ASSETS / f"{name}.onnx").read_bytes().decode("latin-1")


@pytest.mark.parametrize("name", ["digits", "segments"])
def test_training_runs_and_writes_a_model(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    main = runpy.run_path(str(TOOLS / f"train_{name}.py"))["main"]
    few = [] if name == "digits" else ["--scenes", "1"]
    with pytest.warns():  # PyTorch's own, about its exporter
        main(["--output", str(tmp_path), "--model-only", "--steps", "2", *few])
    made, kept = onnx.load(tmp_path / f"{name}.onnx"), onnx.load(ASSETS / f"{name}.onnx")
    assert [node.op_type for node in made.graph.node] == [node.op_type for node in kept.graph.node]
    load_spec(tmp_path / f"{name}.toml")
