# SPDX-License-Identifier: Apache-2.0
"""The model spec as text, with comments that say what was guessed."""

from __future__ import annotations

import json
from typing import Any

from edged.export.arguments import Request
from edged.export.guess import Guess

GUESS = "guess:"


def spec_text(request: Request, guess: Guess, onnx: str, labels: str | None, doubts: list[str]) -> str:
    """A first spec.

    Args:
        request: what the user said.
        guess: how the outputs are read.
        onnx: path of the ONNX file, absolute or from the spec's folder.
        labels: path of the labels file likewise.
        doubts: what is known against running it.
    """
    lines = [
        f"# First spec of {request.app}, written by edged export. Lines marked {GUESS!r} are for you to confirm:",
        "# a wrong one gives no error, only bad results. docs/models.md explains every key.",
        *(f"# {doubt}" for doubt in doubts),
        f"id = {_value(request.id)}",
        f"onnx = {_value(onnx)}",
        *_reading(guess),
        _labels(labels),
        "",
        "[input]",
        *_input(request),
        "",
        "[output]",
        *_output(guess),
    ]
    return "\n".join(lines) + "\n"


def _reading(guess: Guess) -> list[str]:
    lines = [f"task = {_value(guess.task)}", f"decoder = {_value(guess.decoder)}"]
    if not guess.why:
        return lines
    if guess.decoder == "raw":
        return [
            f"# {GUESS} {guess.why}, so the tensors are published as they are.",
            "# If a decoder reads them, name it here with its task (docs/models.md lists them).",
            *lines,
        ]
    return [f"# {GUESS} {guess.why}", *lines]


def _labels(labels: str | None) -> str:
    if labels is not None:
        return f"labels = {_value(labels)}"
    return '# labels = "FILE"    # class names, one a line, in the order of training; without it: class numbers'


def _input(request: Request) -> list[str]:
    lines = [_line("size", list(request.size), request.size_given, "height, width")]
    defaults: dict[str, tuple[Any, str]] = {
        "color": ("rgb", "order of the channels in training"),
        "resize": ("letterbox", "letterbox | stretch | center-crop, as in training"),
        "scale": (255.0, "value = (pixel / scale - mean) / std"),
        "mean": ([0.0, 0.0, 0.0], "ImageNet's is [0.485, 0.456, 0.406]"),
        "std": ([1.0, 1.0, 1.0], "ImageNet's is [0.229, 0.224, 0.225]"),
    }
    for key, (default, meaning) in defaults.items():
        given = key in request.input
        lines.append(_line(key, request.input.get(key, default), given, meaning))
    return lines


def _output(guess: Guess) -> list[str]:
    line = f"activation = {_value(guess.activation)}"
    return [f"{line}    # {GUESS} {guess.activation_why}" if guess.activation_why else line]


def _line(key: str, value: Any, given: bool, meaning: str) -> str:
    return f"{key} = {_value(value)}{'' if given else f'    # {GUESS} {meaning}'}"


def _value(value: Any) -> str:
    """As TOML: JSON's strings, numbers and arrays are TOML's as well."""
    return json.dumps(value)
