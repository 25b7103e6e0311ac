# SPDX-License-Identifier: Apache-2.0
"""A prepared graph without its input step."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edged.graph.cut import without_input_step
from edged.graph.prepare import prepare
from edged.model import InputSpec
from edged.model_file import load_spec


def model_file(folder: Path, dtype: int) -> None:
    """Half of the image, pooled: enough to see each channel."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["y"]),
    ]
    given = helper.make_tensor_value_info("image", dtype, ["n", 3, 4, 6])
    result = helper.make_tensor_value_info("y", dtype, ["n", 3])
    graph = helper.make_graph(nodes, "m", [given], [result])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx")


def run(model: onnx.ModelProto, name: str, value: NDArray[np.generic]) -> NDArray[np.generic]:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {name: value})
    return np.asarray(found)


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16])
@pytest.mark.parametrize("color", ["rgb", "bgr"])
@pytest.mark.parametrize(
    "pixels",
    ["", "scale = 1.0", "mean = [0.1, 0.2, 0.3]\nstd = [0.5, 0.6, 0.7]", "std = [1.0, 2.0, 4.0]"],
)
def test_step_and_rest_together_are_the_whole(tmp_path: Path, dtype: int, color: str, pixels: str) -> None:
    model_file(tmp_path, dtype)
    (tmp_path / "m.toml").write_text(
        'id = "m"\nonnx = "m.onnx"\ntask = "raw"\ndecoder = "raw"\n'
        f'[input]\nsize = [4, 6]\ncolor = "{color}"\n{pixels}\n'
    )
    spec = load_spec(tmp_path / "m.toml")
    whole = onnx.load(prepare(spec, tmp_path / "cache").path)
    cut = without_input_step(whole, spec.input)
    onnx.checker.check_model(cut.model)
    frames = np.random.default_rng(0).integers(0, 256, (2, 4, 6, 3), dtype=np.uint8)
    image = (frames[..., ::-1] if cut.rgb else frames) * np.array(cut.factor) + np.array(cut.shift)
    kind = np.float32 if dtype == TensorProto.FLOAT else np.float16
    found = run(cut.model, cut.image, image.transpose(0, 3, 1, 2).astype(kind))
    wanted = run(whole, "frames", frames)
    tolerance = 1e-5 if kind is np.float32 else 2e-2
    np.testing.assert_allclose(found.astype(np.float32), wanted.astype(np.float32), rtol=tolerance, atol=tolerance)
    left = {tensor.name for tensor in cut.model.graph.initializer} | {node.name for node in cut.model.graph.node}
    assert not any(name.startswith("edged/input/") for name in left)


def test_a_graph_without_an_input_step_is_refused(tmp_path: Path) -> None:
    model_file(tmp_path, TensorProto.FLOAT)
    with pytest.raises(ValueError, match="no input step"):
        without_input_step(onnx.load(tmp_path / "m.onnx"), InputSpec(size=[4, 6]))
