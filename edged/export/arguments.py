# SPDX-License-Identifier: Apache-2.0
"""The arguments of ``edged export``."""

from __future__ import annotations

import math
import re
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edged.errors import UsageError
from edged.problems import printable

DEFAULT_SIZE = (224, 224)
DEFAULT_OPSET = 17
"""The newest that the parser of TensorRT 8.6 takes."""
OPSETS = (13, 24)
LARGEST_SIDE = 16384
LARGEST_BATCH = 64
IMAGENET = ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Request(NamedTuple):
    """What to export, and how.

    Attributes:
        module: name of the module that has the factory.
        factory: dotted name in the module.
        id: of the model; also the name of the files.
        folder: for the files.
        size: height, width of the input, pixels.
        size_given: whether the user said so.
        input: the keys of the spec's ``[input]`` that the user gave.
        task: of the model; None to guess.
        decoder: reads the outputs; None to guess.
        labels: file of class names.
        weights: file of a state_dict.
        take: names of the outputs to export; empty to choose.
        opset: of the file.
        opset_given: whether the user said so.
        exporter: ``auto``, ``classic`` or ``dynamo``.
        batches: sizes to check with.
        force: whether files may be replaced.
    """

    module: str
    factory: str
    id: str
    folder: Path
    size: tuple[int, int]
    size_given: bool
    input: dict[str, Any]
    task: str | None
    decoder: str | None
    labels: Path | None
    weights: Path | None
    take: tuple[str, ...]
    opset: int
    opset_given: bool
    exporter: str
    batches: tuple[int, ...]
    force: bool

    @property
    def app(self) -> str:
        """``MODULE:FACTORY``, for messages."""
        return f"{self.module}:{self.factory}"


def add_flags(parser: ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("app", metavar="MODULE:FACTORY", help="function, class or model, importable from here")
    parser.add_argument("--size", type=_size, metavar="H,W", help="input height, width in pixels (default: 224,224)")
    parser.add_argument(
        "--output", type=Path, default=Path(), metavar="DIR", help="where (default: the working folder)"
    )
    parser.add_argument("--id", type=_id, metavar="ID", help="name of model and files (default: FACTORY)")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="state_dict to load")
    parser.add_argument("--task", choices=("classification", "detection", "segmentation", "raw"), help="default: guess")
    parser.add_argument("--decoder", metavar="NAME", help="reads the outputs (default: guess by their shape)")
    parser.add_argument("--labels", type=Path, metavar="FILE", help="class names, one a line")
    parser.add_argument("--take", type=_names, default=(), metavar="NAME,…", help="outputs to export (default: choose)")
    parser.add_argument("--scale", type=_positive, metavar="X", help="pixels are divided by it (default: 255)")
    parser.add_argument("--mean", type=_three, metavar="A,B,C", help="subtracted then (default: 0,0,0)")
    parser.add_argument("--std", type=_three_positive, metavar="A,B,C", help="divided by last (default: 1,1,1)")
    parser.add_argument("--imagenet", action="store_true", help="mean and std of ImageNet's training recipes")
    parser.add_argument("--color", choices=("rgb", "bgr"), help="order of the channels (default: rgb)")
    parser.add_argument("--resize", choices=("letterbox", "stretch", "center-crop"), help="default: letterbox")
    parser.add_argument(
        "--opset", type=_opset, metavar="N", help=f"of the ONNX file (default: {DEFAULT_OPSET}, for TensorRT 8.6 on)"
    )
    parser.add_argument(
        "--exporter",
        choices=("auto", "classic", "dynamo"),
        default="auto",
        help="which one of PyTorch's (default: auto)",
    )
    parser.add_argument(
        "--batch-check", type=_batches, default=(1, 3), metavar="N,N", help="batch sizes to check with (default: 1,3)"
    )
    parser.add_argument("--force", action="store_true", help="replace files that are there")


def request_of(given: Namespace) -> Request:
    """What the arguments ask for.

    Raises:
        UsageError: arguments that do not fit each other.
    """
    module, colon, factory = given.app.partition(":")
    names = [*module.split("."), *factory.split(".")]
    if not colon or not all(name.isidentifier() for name in names):
        raise UsageError(
            f"expected MODULE:FACTORY, found {printable(given.app)}",
            remedy="for example models:build, or torchvision.models:resnet18",
        )
    if given.imagenet and (given.mean or given.std):
        raise UsageError("--imagenet and --mean or --std say the same thing twice", remedy="give one of them")
    mean, std = IMAGENET if given.imagenet else (given.mean, given.std)
    keys = {"color": given.color, "resize": given.resize, "scale": given.scale, "mean": mean, "std": std}
    name = given.id or factory.rpartition(".")[2].strip("_") or "model"
    return Request(
        module=module,
        factory=factory,
        id=name if _ID.fullmatch(name) else "model",
        folder=given.output,
        size=given.size or DEFAULT_SIZE,
        size_given=given.size is not None,
        input={key: value for key, value in keys.items() if value is not None},
        task=given.task,
        decoder=given.decoder,
        labels=given.labels,
        weights=given.weights,
        take=given.take,
        opset=given.opset or DEFAULT_OPSET,
        opset_given=given.opset is not None,
        exporter=given.exporter,
        batches=given.batch_check,
        force=given.force,
    )


def _split(text: str, convert: Callable[[str], Any], counts: range, expected: str) -> list[Any]:
    """Values between commas."""
    parts = [part.strip() for part in text.split(",")]
    try:
        values = [convert(part) for part in parts]
    except ValueError:
        values = []
    if len(values) not in counts:
        raise ArgumentTypeError(f"expected {expected}, found {printable(text)}")
    return values


def _whole(low: int, high: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and low <= int(text) <= high):
            raise ValueError
        return int(text)

    return convert


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError
    return value


def _size(text: str) -> tuple[int, int]:
    height, width = _split(text, _whole(1, LARGEST_SIDE), range(2, 3), f"H,W in pixels, 1 to {LARGEST_SIDE}")
    return height, width


def _batches(text: str) -> tuple[int, ...]:
    expected = f"two or more different batch sizes from 1 to {LARGEST_BATCH}"
    values = _split(text, _whole(1, LARGEST_BATCH), range(2, 9), expected)
    if len(set(values)) < 2:
        raise ArgumentTypeError(f"expected {expected}, found {printable(text)}")
    return tuple(dict.fromkeys(values))


def _opset(text: str) -> int:
    low, high = OPSETS
    return int(_split(text, _whole(low, high), range(1, 2), f"an opset from {low} to {high}")[0])


def _positive(text: str) -> float:
    (value,) = _split(text, _finite, range(1, 2), "a number above 0")
    if value <= 0:
        raise ArgumentTypeError(f"expected a number above 0, found {printable(text)}")
    return float(value)


def _three(text: str) -> list[float]:
    return _split(text, _finite, range(3, 4), "three numbers")


def _three_positive(text: str) -> list[float]:
    values = _split(text, _finite, range(3, 4), "three numbers above 0")
    if min(values) <= 0:
        raise ArgumentTypeError(f"expected three numbers above 0, found {printable(text)}")
    return values


def _names(text: str) -> tuple[str, ...]:
    names = tuple(part.strip() for part in text.split(","))
    if not all(names) or len(set(names)) < len(names):
        raise ArgumentTypeError(f"expected different names between commas, found {printable(text)}")
    return names


def _id(text: str) -> str:
    if not _ID.fullmatch(text):
        raise ArgumentTypeError(f"expected letters, digits, '.', '_' or '-', found {printable(text)}")
    return text
