# SPDX-License-Identifier: Apache-2.0
"""How outputs are read by their shapes, and what the spec says of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from edged.cli_arguments import parse
from edged.errors import ConfigError, ModelError, UsageError
from edged.export.arguments import Request, request_of
from edged.export.compare import difference
from edged.export.guess import TASKS, Guess, choose
from edged.export.operators import doubts
from edged.export.spec_text import spec_text
from edged.graph.outputs.base import known_decoders
from edged.model_file import load_spec


def request(*flags: str) -> Request:
    return request_of(parse(["export", "models:build", "--size", "64,96", *flags]))


def noise(*shape: int, high: float = 3.0) -> NDArray[np.float32]:
    return np.random.default_rng(0).uniform(0, high, (2, *shape)).astype(np.float32)


CELLS = 8 * 12 + 4 * 6 + 2 * 3
SHAPES: list[tuple[NDArray[Any], str, str]] = [
    (noise(10), "classification", "softmax"),
    (noise(10, high=1.0), "classification", "none"),
    (noise(1), "classification", "sigmoid"),
    (noise(5, 16, 24), "segmentation", "none"),
    (noise(1, 16, 24), "raw", "none"),
    (noise(300, 16, 24), "raw", "none"),
    (noise(16, 24).astype(np.int64), "segmentation", "none"),
    (noise(300, 6), "end2end", "none"),
    (noise(84, CELLS), "yolov8", "sigmoid"),
    (noise(84, CELLS, high=1.0), "yolov8", "none"),
    (noise(3 * CELLS, 85), "yolov5", "sigmoid"),
    (noise(CELLS, 85), "raw", "none"),
    (noise(197, 100), "raw", "none"),
    (noise(2, 3, 4, 5), "raw", "none"),
]


@pytest.mark.parametrize(("value", "decoder", "activation"), SHAPES, ids=lambda value: getattr(value, "shape", None))
def test_the_shape_tells_the_decoder(value: NDArray[Any], decoder: str, activation: str) -> None:
    names, guess = choose({"output": value}, request())
    assert names == ["output"]
    assert (guess.task, guess.decoder, guess.activation) == (TASKS[decoder], decoder, activation)


def test_an_ambiguous_shape_names_its_decoders() -> None:
    _, guess = choose({"output": noise(CELLS, 85)}, request())
    assert guess.why == "[N, 126, 85] may be for decoder yolov5 or yolox, only you know"
    _, guess = choose({"output": noise(CELLS, 85)}, request("--decoder", "yolox"))
    assert (guess.task, guess.decoder, guess.why) == ("detection", "yolox", "")


def test_every_decoder_of_edged_has_its_task_here() -> None:
    assert set(TASKS) == set(known_decoders())


SEVERAL: list[tuple[dict[str, NDArray[Any]], tuple[str, ...], list[str], str]] = [
    ({"out": noise(5, 8, 8), "aux": noise(5, 8, 8)}, (), ["out"], "segmentation"),
    ({"output_0": noise(84, CELLS), "output_1_0": noise(8, 8, 8)}, (), ["output_0"], "yolov8"),
    ({"age": noise(1), "sex": noise(2)}, (), ["age", "sex"], "raw"),
    ({"age": noise(1), "sex": noise(2)}, ("--take", "sex"), ["sex"], "classification"),
    ({"age": noise(1), "map": noise(4, 8, 8)}, ("--task", "segmentation"), ["map"], "segmentation"),
    ({"a": noise(7), "b": noise(CELLS, 85)}, ("--decoder", "yolov5"), ["b"], "yolov5"),
    ({"out": noise(5, 8, 8), "aux": noise(5, 8, 8)}, ("--decoder", "raw"), ["out", "aux"], "raw"),
]


@pytest.mark.parametrize(("arrays", "flags", "names", "decoder"), SEVERAL)
def test_which_of_several_outputs_are_taken(
    arrays: dict[str, NDArray[Any]], flags: tuple[str, ...], names: list[str], decoder: str
) -> None:
    taken, guess = choose(arrays, request(*flags))
    assert (taken, guess.decoder) == (names, decoder)


REFUSED: list[tuple[tuple[str, ...], type[Exception], str]] = [
    (("--decoder", "classification"), ConfigError, r"decoder classification expects one output \[N, C\]; found output"),
    (("--task", "classification"), ModelError, r"no one decoder for classification is sure to read a \[N, 126, 85\]"),
    (("--take", "b"), ModelError, "the model has no output b; --take any of a"),
    (("--decoder", "yolo"), UsageError, "yolo is no decoder of edged's own; give its --task too"),
    (("--decoder", "yolo", "--task", "detection"), ConfigError, "there is no decoder 'yolo'"),
    (("--decoder", "yolox", "--task", "raw"), ConfigError, "decoder yolox is for task detection"),
]


@pytest.mark.parametrize(("flags", "kind", "message"), REFUSED)
def test_what_the_user_said_must_fit(flags: tuple[str, ...], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        choose({"a": noise(CELLS, 85)}, request(*flags))


ARGUMENTS = [
    (["models"], "expected MODULE:FACTORY, found models"),
    (["a:b c"], "expected MODULE:FACTORY"),
    (["a:b", "--size", "64"], "--size: expected H,W in pixels"),
    (["a:b", "--size", "64,0"], "--size: expected H,W in pixels"),
    (["a:b", "--opset", "12"], "--opset: expected an opset from 13 to 24, found 12"),
    (["a:b", "--batch-check", "3"], "--batch-check: expected two or more different batch sizes"),
    (["a:b", "--batch-check", "2,2"], "--batch-check: expected two or more different batch sizes"),
    (["a:b", "--std", "1,0,1"], "--std: expected three numbers above 0"),
    (["a:b", "--scale", "nan"], "--scale: expected a number above 0"),
    (["a:b", "--imagenet", "--mean", "0,0,0"], "--imagenet and --mean or --std say the same thing twice"),
    (["a:b", "--id", "../x"], "--id: expected letters"),
    (["a:b", "--take", "x,,y"], "--take: expected different names"),
]


@pytest.mark.parametrize(("arguments", "message"), ARGUMENTS, ids=lambda value: " ".join(value))
def test_wrong_arguments(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        request_of(parse(["export", *arguments]))
    assert message in str(raised.value)


GUESSES = [
    Guess("classification", "classification", "by its shape [N, 10]", "softmax", "no probabilities"),
    Guess("raw", "raw", "no decoder reads [N, 1]"),
    Guess("detection", "yolox", ""),
]


@pytest.mark.parametrize("guess", GUESSES, ids=lambda guess: guess.decoder)
def test_the_spec_is_valid_and_says_what_was_guessed(guess: Guess, tmp_path: Path) -> None:
    for name in ('m "x".onnx', "names.txt"):
        (tmp_path / name).write_text("x")
    asked = request("--mean", "0.5,0.5,0.5", "--std=0.25,0.25,0.25", "--color", "bgr", "--id", "m-1")
    text = spec_text(asked, guess, 'm "x".onnx', "names.txt", ["TensorRT has no Unique"])
    (tmp_path / "m.toml").write_text(text)
    spec = load_spec(tmp_path / "m.toml")
    assert (spec.id, spec.task, spec.decoder) == ("m-1", guess.task, guess.decoder)
    assert (spec.input.mean, spec.input.std, spec.input.scale) == ([0.5] * 3, [0.25] * 3, 255.0)
    assert spec.input.size == [64, 96]
    assert (spec.labels, spec.output.activation) == (tmp_path / "names.txt", guess.activation)
    guessed = {line.split(" = ")[0] for line in text.splitlines() if " # guess:" in line}
    assert guessed == {"resize", "scale"} | ({"activation"} if guess.activation_why else set())
    assert f"# guess: {guess.why}" in text if guess.why else "\n# guess:" not in text
    assert "# TensorRT has no Unique\n" in text


def test_imagenet_is_used_only_if_asked() -> None:
    assert request().input == {}
    assert request("--imagenet").input == {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}


def test_operators_that_no_tensorrt_has() -> None:
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])
    nodes = [helper.make_node("Det", ["x"], ["y"]), helper.make_node("Relu", ["x"], ["z"])]
    nodes += [helper.make_node("Wonder", ["x"], ["w"], domain="com.example")]
    graph = helper.make_graph(nodes, "g", [info], [])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    assert doubts(model) == ["TensorRT has no Det, com.example.Wonder: it runs on ONNX Runtime only"]
    newer = onnx.helper.make_model(
        helper.make_graph([nodes[1]], "g", [info], []), opset_imports=[helper.make_opsetid("", 18)]
    )
    assert doubts(newer) == ["opset 18: TensorRT 8.6 takes at most 17"]


def test_the_difference_is_a_relative_norm() -> None:
    ones = np.ones((2, 2), np.float32)
    assert difference(ones, ones) == 0
    assert difference(ones * 1.5, ones) == pytest.approx(0.5)
    assert difference(ones, np.zeros((2, 2), np.float32)) == pytest.approx(2)
    assert difference(ones[:1], ones) == float("inf")
    assert np.isnan(difference(ones * np.nan, ones))
    assert difference(np.array([1, 2, 3, 4]), np.array([1, 2, 3, 5])) == 0.25
