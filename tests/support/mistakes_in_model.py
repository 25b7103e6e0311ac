# SPDX-License-Identifier: Apache-2.0
"""Mistakes in the model spec, the ONNX file and the labels."""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from support.mistakes import Case


def no_image_input(folder: Path) -> None:
    """A model that reads two numbers instead of a picture."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 2]) for name in ("x", "y")]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "numbers", infos[:1], infos[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "shapes.onnx")


def truncated_onnx(folder: Path) -> None:
    path = folder / "shapes.onnx"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


CASES: dict[str, Case] = {
    "no model spec": Case(
        78, ("FOLDER/absent.toml: model spec not found", "model.spec"), settings=("shapes.toml", "absent.toml")
    ),
    "model spec is the model": Case(
        78, ("FOLDER/shapes.onnx", "no", "model spec", "TOML"), settings=("shapes.toml", "shapes.onnx")
    ),
    "unknown key in the spec": Case(
        78, ("shapes.toml:9: unknown key input.sise", "did you mean input.size?"), spec=("size =", "sise =")
    ),
    "wrong type in the spec": Case(
        78,
        ('shapes.toml:9: input.size[0]: expected a whole number, found the text "240"',),
        spec=("[240,", '["240",'),
    ),
    "spec without task": Case(78, ("shapes.toml: task is missing", "add it"), spec=('task = "detection"\n', "")),
    "no ONNX file": Case(
        78,
        ("shapes.toml:3: onnx: ONNX file FOLDER/absent.onnx does not exist", "correct onnx"),
        spec=("shapes.onnx", "absent.onnx"),
    ),
    "empty ONNX file": Case(
        78, ("FOLDER/shapes.onnx: the ONNX file is empty (0 bytes)", "copy or export"), files={"shapes.onnx": b""}
    ),
    "truncated ONNX file": Case(
        78, ("FOLDER/shapes.onnx: ", "truncated", "copy or export it again"), prepare=truncated_onnx
    ),
    "text as ONNX": Case(
        78, ("FOLDER/shapes.onnx: the file is not ONNX", "again"), files={"shapes.onnx": "this is a text\n" * 20}
    ),
    "model without image input": Case(
        78,
        ("FOLDER/shapes.onnx: the model must have one image input", "found x [N, 2]", "export the model"),
        prepare=no_image_input,
    ),
    "no labels": Case(
        78,
        ("shapes.toml:6: labels: labels file FOLDER/absent.names does not exist", "correct labels"),
        spec=("shapes.names", "absent.names"),
    ),
    "labels that do not match": Case(
        78,
        ("FOLDER/shapes.names: the labels file has 2 names, but the model has 3 classes", "one name for each class"),
        files={"shapes.names": "circle\nsquare\n"},
    ),
    "labels that are no text": Case(
        78, ("FOLDER/shapes.names: the labels file is not UTF-8", "save it"), files={"shapes.names": b"\xff\xfe\x80"}
    ),
    "unknown decoder": Case(
        78,
        ("model shapes: there is no decoder 'yolov9'", "known are classification", "correct the key decoder"),
        spec=('"yolov8"', '"yolov9"'),
    ),
    "decoder of another task": Case(
        78,
        ("model shapes: decoder segmentation is for task segmentation", "make task and decoder"),
        spec=('"yolov8"', '"segmentation"'),
    ),
    "decoder that does not fit": Case(
        78,
        ("FOLDER/shapes.onnx: decoder end2end expects one output", "found output", "choose the decoder"),
        spec=('"yolov8"', '"end2end"'),
    ),
    "input size that does not fit": Case(
        78,
        ("shapes.onnx: the spec says input size 320 x 320", "the model takes 240 x 320", "correct size in [input]"),
        spec=("[240, 320]", "[320, 320]"),
    ),
}
