# SPDX-License-Identifier: Apache-2.0
"""Guessing how a model's outputs are read: by what the decoders accept, and by the shapes that tell more."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from edged.errors import DecoderError, ModelError, UsageError
from edged.export.arguments import Request
from edged.graph.outputs.base import ModelOutput, find_decoder
from edged.graph.outputs.detection import grid_cells
from edged.model import ModelSpec

TASKS = {
    "classification": "classification",
    "segmentation": "segmentation",
    "end2end": "detection",
    "yolov5": "detection",
    "yolov8": "detection",
    "yolox": "detection",
    "raw": "raw",
}
"""The task of each of edged's own decoders."""
_PREFERRED = ("out", "logits", "pred", "predictions")
_ROUNDING = 1e-4


class Guess(NamedTuple):
    """How outputs are read.

    Attributes:
        task: for the spec.
        decoder: for the spec.
        why: what it was taken from, for the spec's comment; empty where the user said it.
        activation: for the spec.
        activation_why: what it was taken from.
    """

    task: str
    decoder: str
    why: str
    activation: str = "none"
    activation_why: str = ""


def choose(arrays: dict[str, NDArray[Any]], request: Request) -> tuple[list[str], Guess]:
    """Which outputs to export, and how they are read.

    Args:
        arrays: the outputs of a batch, by name.
        request: what the user said already.

    Raises:
        ModelError: the user's decoder, task or names do not fit.
        UsageError: a decoder of the user's own without a task.
    """
    names = list(arrays)
    if request.take:
        unknown = [name for name in request.take if name not in arrays]
        if unknown:
            raise ModelError(
                f"the model has no output {unknown[0]}", where=request.app, remedy=f"--take any of {', '.join(names)}"
            )
        names = list(request.take)
    guess = guess_for({name: arrays[name] for name in names}, request)
    if request.take or len(names) == 1 or (guess is not None and guess.decoder != "raw"):
        return names, guess or _refuse(names, arrays, request)
    for name in _alone(names, request):
        single = guess_for({name: arrays[name]}, request)
        if single is not None and single.decoder != "raw":
            return [name], single
    return names, guess or _refuse(names, arrays, request)


def _alone(names: Sequence[str], request: Request) -> Sequence[str]:
    """Outputs of several that may be meant by themselves: any where the user says how to read it, else the main one."""
    if request.decoder or request.task:
        return names
    main = [name for name in names if name.lower() in _PREFERRED]
    # A tuple's first element, where detectors return their feature maps as well.
    return main or [name for name in names[:1] if name == "output_0"]


def guess_for(arrays: dict[str, NDArray[Any]], request: Request) -> Guess | None:
    """How these outputs are read together; None where what the user said does not fit."""
    outputs = [_output(name, value) for name, value in arrays.items()]
    if request.decoder is not None:
        return _asked(outputs, arrays, request)
    fits = [
        name
        for name, task in TASKS.items()
        if name != "raw" and request.task in (None, task) and _accepts(name, task, outputs, request)
    ]
    only = outputs[0] if len(outputs) == 1 else None
    picked, why = _narrowed(fits, only, request) if only is not None else ("", _several(outputs))
    if not picked:
        return Guess("raw", "raw", why) if request.task in (None, "raw") else None
    activation, told = _activation(picked, next(iter(arrays.values())))
    return Guess(TASKS[picked], picked, why, activation, told)


def _asked(outputs: list[ModelOutput], arrays: dict[str, NDArray[Any]], request: Request) -> Guess | None:
    """The decoder that the user named."""
    decoder = str(request.decoder)
    task = request.task or TASKS.get(decoder)
    if task is None:
        raise UsageError(f"{decoder} is no decoder of edged's own", remedy="give its --task too, if it is yours")
    spec = provisional(request, task, decoder)
    reader = find_decoder(spec)
    try:
        reader.check(outputs, spec)
    except DecoderError:
        return None
    activation, why = _activation(decoder, next(iter(arrays.values()))) if len(arrays) == 1 else ("none", "")
    return Guess(task, decoder, "", activation, why)


def _refuse(names: Sequence[str], arrays: dict[str, NDArray[Any]], request: Request) -> Guess:
    found = ", ".join(f"{name} {_shape(arrays[name].shape[1:])}" for name in names)
    if request.decoder is not None:
        spec = provisional(request, request.task or TASKS[request.decoder], request.decoder)
        outputs = [_output(name, arrays[name]) for name in names]
        find_decoder(spec).check(outputs, spec)
    raise ModelError(
        f"no one decoder for {request.task} is sure to read {found}",
        where=request.app,
        remedy="name one with --decoder (docs/models.md lists them), or some outputs with --take",
    )


def provisional(request: Request, task: str, decoder: str) -> ModelSpec:
    """The spec as far as it is known: for checks, before there is a file."""
    return ModelSpec.model_validate(
        {
            "id": request.id,
            "onnx": request.app,
            "task": task,
            "decoder": decoder,
            "input": {"size": list(request.size), **request.input},
        }
    )


def _output(name: str, value: NDArray[Any]) -> ModelOutput:
    shape = value.shape[1:]
    return ModelOutput(name, str(value.dtype), ("N", *shape), shape, shape)


def _accepts(name: str, task: str, outputs: list[ModelOutput], request: Request) -> bool:
    spec = provisional(request, task, name)
    try:
        find_decoder(spec).check(outputs, spec)
    except DecoderError:
        return False
    return True


def _narrowed(fits: list[str], output: ModelOutput, request: Request) -> tuple[str, str]:
    """The one decoder that the shape speaks for, or none; and why."""
    shape, shown = output.largest, _shape(output.largest)
    if len(shape) != 2:
        return (fits[0], f"by its shape {shown}") if fits else ("", f"no decoder reads {shown}")
    if not output.dtype.startswith("float"):
        picked = "segmentation" if "segmentation" in fits else ""
        return picked, f"integers {shown} are taken for class numbers" if picked else f"no decoder reads {shown}"
    fits = [name for name in fits if name != "segmentation"]
    cells = grid_cells(request.size)
    where = f"{cells} cells of the grids of strides 8, 16 and 32"
    if "yolov8" in fits and shape[1] == cells:
        return "yolov8", f"{shown} has a column for each of the {where}"
    if "yolov5" in fits and shape[0] == 3 * cells:
        return "yolov5", f"{shown} has three rows for each of the {where}"
    if "end2end" in fits and shape[0] != cells:
        return "end2end", f"by its shape {shown}"
    if shape[0] == cells:
        fits = [name for name in fits if name != "yolov8"]
    readers = " or ".join(fits)
    return "", f"{shown} may be for decoder {readers}, only you know" if fits else f"no decoder reads {shown}"


def _several(outputs: list[ModelOutput]) -> str:
    found = ", ".join(f"{output.name} {_shape(output.largest)}" for output in outputs)
    return f"no decoder reads {len(outputs)} outputs: {found} (--take exports some of them)"


def _activation(decoder: str, value: NDArray[Any]) -> tuple[str, str]:
    """What still has to be applied to the scores, by the range that they have on noise."""
    if decoder == "classification":
        scores = value
    elif decoder == "yolov8":
        scores = value[:, 4:]
    elif decoder in ("yolov5", "yolox"):
        scores = value[:, :, 4:]
    else:
        return "none", ""
    if scores.min() >= -_ROUNDING and scores.max() <= 1 + _ROUNDING:
        return "none", "the scores of noise lie between 0 and 1 already"
    if decoder == "classification" and value.shape[1] > 1:
        return "softmax", "the scores of noise are no probabilities; sigmoid where several classes may hold at once"
    return "sigmoid", "the scores of noise are no probabilities"


def _shape(shape: Sequence[int]) -> str:
    return f"[{', '.join(map(str, ('N', *shape)))}]"
