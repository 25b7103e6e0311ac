# SPDX-License-Identifier: Apache-2.0
"""The decoder that docs/models.md shows works as it stands there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from edged.errors import DecoderError
from edged.graph.outputs import base
from edged.graph.prepare import prepare
from edged.model_file import load_spec

MANUAL = Path(__file__).resolve().parent.parent / "docs/models.md"
BOXES = np.array([[1, 2, 3, 4], [5, 6, 7, 8], [0, 0, 9, 9]], np.float32)
SCORES = np.array([[0.1, 0.2], [0.9, 0.3], [0.0, 0.5]], np.float32)


def write_model(path: Path, boxes: np.ndarray[Any, Any]) -> None:
    """A model that answers every picture with the same boxes and scores."""
    values = {"boxes": boxes[None], "scores": SCORES[None]}
    nodes = [helper.make_node("ReduceMean", ["image"], ["zero"], axes=[1, 2, 3], keepdims=1)]
    nodes += [
        helper.make_node("Mul", ["zero", "nothing"], ["none"]),
        helper.make_node("Squeeze", ["none", "axis"], ["n"]),
    ]
    nodes += [helper.make_node("Add", [f"{name}_0", "n"], [name]) for name in values]
    constants = [onnx.numpy_helper.from_array(value, f"{name}_0") for name, value in values.items()]
    constants += [onnx.numpy_helper.from_array(np.zeros(1, np.float32), "nothing")]
    constants += [onnx.numpy_helper.from_array(np.array([3], np.int64), "axis")]
    graph = helper.make_graph(
        nodes,
        "constant",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 16, 16])],
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", *value.shape[1:]])
            for name, value in values.items()
        ],
        constants,
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


@pytest.fixture
def spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A spec that names the decoder of the manual, installed as a package would."""
    code = next(block for block in re.findall(r"```python\n(.*?)```", MANUAL.read_text(encoding="utf-8"), re.DOTALL))
    (tmp_path / "decoder_of_the_manual.py").write_text(code)
    package = tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(
        "[edged.decoders]\nboxes-and-scores = decoder_of_the_manual:BoxesAndScores\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    path = tmp_path / "m.toml"
    path.write_text(
        'id = "m"\nonnx = "m.onnx"\ntask = "detection"\ndecoder = "boxes-and-scores"\n'
        "[input]\nsize = [16, 16]\n[output]\npre_nms = 2\n"
    )
    return path


def test_the_decoder_of_the_manual_reads_its_outputs(spec: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", BOXES)
    assert "boxes-and-scores" in base.known_decoders()
    prepared = prepare(load_spec(spec), tmp_path / "cache")
    assert prepared.classes == 2
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(prepared.path, options, providers=["CPUExecutionProvider"])
    (found,) = session.run(["detections"], {"frames": np.zeros((2, 16, 16, 3), np.uint8)})
    rows = [[5, 6, 7, 8, np.float32(0.9), 0], [0, 0, 9, 9, np.float32(0.5), 1]]
    np.testing.assert_array_equal(found, np.array([rows, rows], np.float32))


def test_the_decoder_of_the_manual_refuses_what_does_not_fit(spec: Path, tmp_path: Path) -> None:
    write_model(tmp_path / "m.onnx", BOXES[:, :3])
    with pytest.raises(
        DecoderError, match=r"expects two outputs, boxes \[N, A, 4\].*found 2 outputs boxes \[N, 3, 3\]"
    ):
        prepare(load_spec(spec), tmp_path / "cache")
