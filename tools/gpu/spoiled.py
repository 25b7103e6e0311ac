# SPDX-License-Identifier: Apache-2.0
"""The demo detector with weights that are wrong: an engine of it runs well and finds other things."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import numpy_helper

from tools.gpu.rig import SHAPES

SPOILED = "shapes-spoiled"


def spoil(model: onnx.ModelProto) -> None:
    """Turn the sign of a model's largest weights."""
    weights = [each for each in model.graph.initializer if each.data_type == onnx.TensorProto.FLOAT]
    largest = max(weights, key=lambda each: int(np.prod(each.dims)))
    largest.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(largest), largest.name))


def export_spoiled(folder: Path) -> None:
    """Write the model and its spec into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    model = onnx.load(SHAPES.with_suffix(".onnx"))
    spoil(model)
    onnx.save(model, folder / f"{SPOILED}.onnx")
    (folder / "shapes.names").write_bytes(SHAPES.with_suffix(".names").read_bytes())
    text = SHAPES.read_text().replace('id = "shapes"', f'id = "{SPOILED}"')
    (folder / f"{SPOILED}.toml").write_text(text.replace('"shapes.onnx"', f'"{SPOILED}.onnx"'))
