# SPDX-License-Identifier: Apache-2.0
"""Decoders that do not fit, are unknown, or come from the user."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edged.errors import DecoderError
from edged.graph.outputs.base import ModelOutput, find_decoder, known_decoders
from edged.model import ModelSpec

MakeSpec = Callable[..., ModelSpec]
BUILT_IN = ["classification", "end2end", "raw", "segmentation", "yolov5", "yolov8", "yolox"]
TASKS = {"classification": "classification", "segmentation": "segmentation", "raw": "raw"}


def output(*shape: int, dtype: str = "float32", name: str = "output") -> ModelOutput:
    return ModelOutput(name, dtype, ("batch", *shape), shape, shape)


def check(decoder: str, outputs: list[ModelOutput], make_spec: MakeSpec, **fields: Any) -> int | None:
    fields.setdefault("input", {"size": [640, 640]})
    spec = make_spec(task=TASKS.get(decoder, "detection"), decoder=decoder, **fields)
    return find_decoder(spec).check(outputs, spec)


@pytest.mark.parametrize(
    ("decoder", "shape", "classes"),
    [
        ("yolox", (8400, 85), 80),
        ("yolov5", (25200, 85), 80),
        ("yolov5", (8400, 6), 1),
        ("yolov8", (84, 8400), 80),
        ("yolov8", (9000, 8400), 8996),  # more values than anchors, but exactly the anchors of this size
        ("end2end", (300, 6), None),
        ("classification", (1000,), 1000),
        ("segmentation", (21, 513, 513), 21),
        ("segmentation", (513, 513), None),
        ("raw", (7,), None),
    ],
)
def test_outputs_that_fit(decoder: str, shape: tuple[int, ...], classes: int | None, make_spec: MakeSpec) -> None:
    assert check(decoder, [output(*shape)], make_spec) == classes


@pytest.mark.parametrize(
    ("decoder", "shape", "expected"),
    [
        ("yolox", (84, 8400), "one output [N, A, 5+C]"),
        ("yolox", (8400, 5), "one output [N, A, 5+C]"),
        ("yolox", (25200, 85), "the grids of this input size have 8400 cells"),
        ("yolov5", (84, 8400), "one output [N, A, 5+C]"),
        ("yolov5", (8400,), "one output [N, A, 5+C]"),
        ("yolov8", (8400, 85), "one output [N, 4+C, A]"),
        ("yolov8", (4, 8400), "one output [N, 4+C, A]"),
        ("end2end", (300, 7), "one output [N, K, 6]"),
        ("end2end", (6,), "one output [N, K, 6]"),
        ("classification", (1000, 1, 1), "one output [N, C]"),
        ("segmentation", (257, 10, 10), "2 to 256 classes"),
        ("segmentation", (1, 10, 10), "2 to 256 classes"),
        ("segmentation", (10,), "one output [N, C, h, w]"),
    ],
)
def test_misfits_say_what_was_expected_and_found(
    decoder: str, shape: tuple[int, ...], expected: str, make_spec: MakeSpec
) -> None:
    with pytest.raises(DecoderError) as caught:
        check(decoder, [output(*shape)], make_spec)
    text = str(caught.value)
    assert f"decoder {decoder} expects" in text
    assert expected in text
    assert f"found output output [batch, {', '.join(map(str, shape))}]" in text
    assert text.startswith("/nowhere/model.onnx: ")
    assert caught.value.exit_code == 78


def test_several_outputs_are_all_named(make_spec: MakeSpec) -> None:
    outputs = [output(8400, 85, name="boxes"), output(8400, dtype="int64", name="ids")]
    with pytest.raises(DecoderError, match=r"found 2 outputs boxes \[batch, 8400, 85\], ids \[batch, 8400\] of int64"):
        check("yolov5", outputs, make_spec)


@pytest.mark.parametrize("decoder", ["end2end", "raw"])
def test_final_outputs_take_no_activation(decoder: str, make_spec: MakeSpec) -> None:
    with pytest.raises(DecoderError, match="activation"):
        check(decoder, [output(300, 6)], make_spec, output={"activation": "sigmoid"})


def test_yolox_of_dynamic_size_needs_sizes_that_its_grids_divide(make_spec: MakeSpec) -> None:
    size = {"min": [64, 64], "opt": [64, 64], "max": [64, 64], "multiple": 16}
    with pytest.raises(DecoderError, match="multiple = 32"):
        check("yolox", [output(84, 8)], make_spec, input={"size": size})


def test_an_unknown_decoder_is_answered_with_the_known_ones(make_spec: MakeSpec) -> None:
    with pytest.raises(DecoderError, match=", ".join(BUILT_IN)):
        check("yolo99", [output(8400, 85)], make_spec)
    assert known_decoders() == BUILT_IN


def test_a_decoder_for_another_task_is_refused(make_spec: MakeSpec) -> None:
    with pytest.raises(DecoderError, match="decoder yolox is for task detection, but the spec says task raw"):
        find_decoder(make_spec(task="raw", decoder="yolox"))


CODE = """
from edged.graph.outputs.base import Decoder
from edged.records import TensorSpec

class Doubled(Decoder):
    name, task, expects = "doubled", "raw", "one output [N, C]"

    def check(self, outputs, spec):
        self.only(outputs, spec, ranks=[2])
        return None

    def attach(self, graph, outputs, spec):
        result = TensorSpec("twice", "float32", outputs[0].largest)
        value = graph.float32(outputs[0].name, outputs[0].dtype)
        graph.output(graph.op("Mul", value, graph.floats(2)), result)
        return [result]

class Stranger:
    pass
"""


@pytest.fixture
def plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An installed distribution that brings decoders."""
    info = tmp_path / "more_decoders-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: more-decoders\nVersion: 1.0\n")
    entries = ["doubled = more_decoders:Doubled", "stranger = more_decoders:Stranger", "gone = more_decoders:Gone"]
    (info / "entry_points.txt").write_text("\n".join(["[edged.decoders]", *entries, "absent = no_such_module:X", ""]))
    (tmp_path / "more_decoders.py").write_text(CODE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "more_decoders", raising=False)


@pytest.mark.usefixtures("plugin")
def test_users_bring_decoders_by_entry_point(make_spec: MakeSpec, decode: Callable[..., list[Any]]) -> None:
    assert "doubled" in known_decoders()
    (found,) = decode(make_spec(task="raw", decoder="doubled"), np.array([[1.5, 2.0]], np.float16))
    assert found.tolist() == [[3.0, 4.0]]
    assert found.dtype == np.float32


@pytest.mark.usefixtures("plugin")
@pytest.mark.parametrize(
    ("decoder", "expected"),
    [("stranger", "not a subclass"), ("gone", "cannot be loaded"), ("absent", "cannot be loaded: No module named")],
)
def test_decoders_that_cannot_be_used_are_refused(decoder: str, expected: str, make_spec: MakeSpec) -> None:
    with pytest.raises(DecoderError, match=expected):
        find_decoder(make_spec(task="raw", decoder=decoder))
