# SPDX-License-Identifier: Apache-2.0
"""What the user's model returns: tensors found in tuples and dictionaries, named, and those that are exported."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edged.errors import ModelError
from edged.export.arguments import Request
from edged.export.blame import losing_line, told
from edged.export.compare import TOLERANCE, difference
from edged.graph.reference import input_step
from edged.model import InputSpec

Arrays = dict[str, NDArray[Any]]


class Seen(NamedTuple):
    """What a model does in PyTorch.

    Attributes:
        frames: what it was given, float32 [N, 3, H, W], by batch size.
        outputs: what it returned, by batch size and name; the batch comes first in each.
        left_out: outputs without a batch, with their shapes.
    """

    frames: dict[int, NDArray[np.float32]]
    outputs: dict[int, Arrays]
    left_out: list[str]


def tensors(torch: Any, value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Every tensor in nested tuples, lists and dictionaries, in order, with names made of keys and indices."""
    if isinstance(value, torch.Tensor):
        yield name or "output", value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from tensors(torch, inner, _joined(name, str(key)))
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        fields = getattr(value, "_fields", None) or range(len(value))
        for key, inner in zip(fields, value, strict=True):
            yield from tensors(torch, inner, _joined(name or ("" if isinstance(key, str) else "output"), str(key)))


def _joined(name: str, key: str) -> str:
    key = re.sub(r"\W", "_", key, flags=re.ASCII)
    return f"{name}_{key}" if name else key


def observe(torch: Any, model: Any, request: Request, spec: InputSpec) -> Seen:
    """Run the model in PyTorch on noise, at every batch size.

    Raises:
        ModelError: it fails, takes one batch size only, returns no tensor with the batch first, or lets the frames of a
            batch influence each other.
    """
    noise = np.random.default_rng(0).integers(0, 256, (max(request.batches), *request.size, 3), dtype=np.uint8)
    values = input_step(noise, spec)
    frames = {count: values[:count] for count in request.batches}
    outputs: dict[int, Arrays] = {}
    for count, batch in frames.items():
        outputs[count] = _run(torch, model, batch, list(outputs), request)
    seen = _with_batch(outputs, frames)
    if not seen.outputs[request.batches[0]]:
        line = losing_line(torch, model, torch.from_numpy(values[:1]))
        shapes = "; ".join(seen.left_out) or "no tensor at all"
        raise ModelError(
            f"no output has the batch as its first dimension: {shapes}{f'; lost at {line}' if line else ''}",
            where=request.app,
            remedy="return [N, …], for example with x.flatten(1) in place of x.view(1, -1)",
        )
    small = min(frames)
    _refuse_change(seen, _run(torch, model, frames[small], list(outputs), request), "from one run to the next", request)
    alone = {name: value[:small] for name, value in seen.outputs[max(frames)].items()}
    _refuse_change(seen, alone, f"between a batch of {small} and one of {max(frames)}", request)
    return seen


def _run(torch: Any, model: Any, batch: NDArray[np.float32], before: list[int], request: Request) -> Arrays:
    """The model's outputs for a batch; sizes that it took before make the message."""
    try:
        with torch.no_grad():
            found = dict(tensors(torch, model(torch.from_numpy(batch))))
    except Exception as error:  # whatever the user's code raises, it is told in one line
        raise _failed(error, len(batch), before, request) from error
    return {name: tensor.detach().cpu().numpy() for name, tensor in found.items()}


def _failed(error: Exception, count: int, before: list[int], request: Request) -> ModelError:
    height, width = request.size
    if before:
        taken = ", ".join(map(str, before))
        return ModelError(
            f"the model's batch is fixed: it takes {taken} but not {count}: {told(error)}",
            where=request.app,
            remedy="write -1 or x.shape[0] where the code has a number for the batch",
        )
    hint = "" if request.size_given else "; --size says which height and width it takes"
    return ModelError(
        f"the model fails on [{count}, 3, {height}, {width}]: {told(error)}",
        where=request.app,
        remedy=f"--traceback shows all of it{hint}",
    )


def _with_batch(outputs: dict[int, Arrays], frames: dict[int, NDArray[np.float32]]) -> Seen:
    """Only what has the batch as its first dimension at every size, and one frame's shape at all of them."""
    kept, left_out = [], []
    names = dict.fromkeys(name for arrays in outputs.values() for name in arrays)
    for name in names:
        shapes = {count: arrays[name].shape if name in arrays else () for count, arrays in outputs.items()}
        if all(shape[:1] == (count,) for count, shape in shapes.items()) and len({s[1:] for s in shapes.values()}) == 1:
            kept.append(name)
        else:
            left_out.append(f"{name} {' and '.join(f'{list(shape)} at {count}' for count, shape in shapes.items())}")
    return Seen(frames, {count: {name: one[name] for name in kept} for count, one in outputs.items()}, left_out)


def _refuse_change(seen: Seen, again: Arrays, when: str, request: Request) -> None:
    """The same frames must give the same, whenever and whoever is with them."""
    for name, value in seen.outputs[min(seen.outputs)].items():
        apart = difference(again[name], value)
        if apart > TOLERANCE:
            raise ModelError(
                f"output {name!r} of the same frames changes {when} by {apart:.1e} (relative norm)",
                where=request.app,
                remedy="edged batches frames of several sources: compute nothing over the batch, and nothing at random",
            )
