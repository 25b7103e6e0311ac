# SPDX-License-Identifier: Apache-2.0
"""``edged export``: load, run in PyTorch, export, compare, validate, write."""

from __future__ import annotations

import os
import tempfile
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx

from edged.errors import ConfigError, ModelError
from edged.export.arguments import Request, request_of
from edged.export.compare import TOLERANCE, compare
from edged.export.exporters import BATCH, ExportFailedError, export
from edged.export.guess import Guess, choose, provisional
from edged.export.load import load_model, load_torch
from edged.export.operators import doubts
from edged.export.outputs import Seen, observe
from edged.export.spec_text import spec_text
from edged.files import write_atomically
from edged.graph.builder import default_opset
from edged.graph.checks import first_line, image_input
from edged.graph.prepare import PreparedModel, prepare
from edged.model_file import load_spec

EXPORTERS = {"auto": ("classic", "dynamo"), "classic": ("classic",), "dynamo": ("dynamo",)}


class Made(NamedTuple):
    """A graph that was compared with the model.

    Attributes:
        model: the graph.
        exporter: which one made it.
        apart: largest relative difference from PyTorch, by batch size.
        passed_over: exporters that failed before, and why.
    """

    model: onnx.ModelProto
    exporter: str
    apart: dict[int, float]
    passed_over: list[str]


def run_export(given: Namespace, show: Callable[[str], None]) -> int:
    """Export a model.

    Args:
        given: the arguments.
        show: prints.

    Returns:
        0; whatever is wrong is raised, and then nothing was written.

    Raises:
        UsageError: arguments that do not fit each other.
        DeviceUnavailableError: PyTorch is not installed.
        ModelError: the model cannot be loaded or exported, or the export computes something else.
        ConfigError: files are there already, or cannot be written.
    """
    request = request_of(given)
    paths = [request.folder / f"{request.id}{suffix}" for suffix in (".onnx", ".toml")]
    _refuse_existing(paths, request)
    torch = load_torch()
    model = load_model(torch, request)
    seen = observe(torch, model, request, provisional(request, "raw", "raw").input)
    names, guess = choose(seen.outputs[max(request.batches)], request)
    made = _made(torch, model, request, seen, names)
    against = doubts(made.model)
    content = made.model.SerializeToString()
    prepared = _validated(content, request, guess, against)
    labels = None if request.labels is None else _relative(request.labels, request.folder)
    text = spec_text(request, guess, paths[0].name, labels, against)
    _write(request, {paths[0]: content, paths[1]: text.encode()})
    show(_summary(request, torch, seen, names, made, guess, prepared, against, paths))
    return 0


def _refuse_existing(paths: list[Path], request: Request) -> None:
    there = [path for path in paths if path.exists()]
    if there and not request.force:
        raise ConfigError(
            "it is there already", where=str(there[0]), remedy="--force replaces it; --id or --output chooses another"
        )


def _made(torch: Any, model: Any, request: Request, seen: Seen, names: list[str]) -> Made:
    """The graph of the first exporter that gets it right."""
    failures: list[str] = []
    frame = seen.frames[min(request.batches)][:1]
    for exporter in EXPORTERS[request.exporter]:
        suspects: list[str] = []
        try:
            exported = export(torch, exporter, model, frame, names, request.opset)
            suspects = exported.suspects
            _declare(exported.model, seen, names)
            _check(exported.model, request)
            apart = compare(exported.model, seen.frames, seen.outputs, request.app)
        except ExportFailedError as error:
            failures.append(f"{exporter} exporter: {error}")
        except ModelError as error:
            fixed = f"something is fixed at {'; '.join(suspects[:3])}: " if suspects else ""
            failures.append(f"{exporter} exporter: {fixed}{error.what}")
        else:
            return Made(exported.model, exporter, apart, failures)
    raise ModelError(
        f"no right graph with a dynamic batch came of it: {'; '.join(failures)}",
        where=request.app,
        remedy="write the model's code for any batch, without Python numbers, loops or branches made of tensors",
    )


def _declare(model: onnx.ModelProto, seen: Seen, names: list[str]) -> None:
    """Declare the outputs as they were seen in PyTorch: exporters leave some of it open."""
    arrays = next(iter(seen.outputs.values()))
    for info, name in zip(model.graph.output, names, strict=True):
        shape = info.type.tensor_type.shape
        del shape.dim[:]
        shape.dim.add().dim_param = BATCH
        for length in arrays[name].shape[1:]:
            shape.dim.add().dim_value = length


def _check(model: onnx.ModelProto, request: Request) -> None:
    opset = default_opset(model)
    if opset > request.opset and request.opset_given:
        raise ModelError(f"its graph needs opset {opset}, more than the {request.opset} asked for", where=request.app)
    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"its graph is invalid: {first_line(error)}", where=request.app) from error
    image_input(model, provisional(request, "raw", "raw"))


def _validated(content: bytes, request: Request, guess: Guess, against: list[str]) -> PreparedModel:
    """Do with the two files what ``edged check`` would do, in a folder of their own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model.onnx").write_bytes(content)
        labels = None if request.labels is None else str(request.labels.absolute())
        spec = folder / f"{request.id}.toml"
        spec.write_text(spec_text(request, guess, "model.onnx", labels, against), encoding="utf-8")
        prepared = prepare(load_spec(spec), folder / "cache")
    if prepared.fixed_batch is not None:
        raise ModelError(f"the batch is fixed at {prepared.fixed_batch}", where=request.app)
    return prepared


def _relative(path: Path, folder: Path) -> str:
    """A path as the spec names it: from its own folder where it lies in it."""
    path, folder = path.absolute(), folder.absolute()
    return os.path.relpath(path, folder) if path.is_relative_to(folder) else str(path)


def _write(request: Request, files: dict[Path, bytes]) -> None:
    """The spec comes last: it never names a file that is not there."""
    try:
        request.folder.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            write_atomically(path, content)
    except OSError as error:
        raise ConfigError(
            f"it cannot be written ({error.strerror})", where=str(request.folder), remedy="choose another --output"
        ) from error


def _summary(
    request: Request,
    torch: Any,
    seen: Seen,
    names: list[str],
    made: Made,
    guess: Guess,
    prepared: PreparedModel,
    against: list[str],
    paths: list[Path],
) -> str:
    arrays = next(iter(seen.outputs.values()))
    left_out = [*(name for name in arrays if name not in names), *seen.left_out]
    classes = "" if prepared.classes is None else f", {prepared.classes} classes"
    rows = [
        ("model", f"{paths[0]}, {paths[0].stat().st_size / 1e6:.2f} MB, opset {default_opset(made.model)}"),
        ("made by", f"torch {torch.__version__}, {made.exporter} exporter"),
        *(("passed over", reason) for reason in made.passed_over),
        ("input", f"float32 [N, 3, {request.size[0]}, {request.size[1]}], any N"),
        *(("output", f"{name} {arrays[name].dtype} {_shape(arrays[name])}") for name in names),
        *(("left out", one) for one in left_out),
        *(
            ("right", f"batch {count}: {apart:.1e} from PyTorch (relative norm, at most {TOLERANCE:.0e})")
            for count, apart in made.apart.items()
        ),
        ("reads as", f"{guess.task} by decoder {guess.decoder}{classes}{f' ({guess.why})' if guess.why else ''}"),
        *(("note", doubt) for doubt in against),
        ("spec", f"{paths[1]}; confirm its lines marked guess:"),
        ("next", f"edged-build-engine {paths[1]}, or name it as model.spec in the settings"),
    ]
    width = max(len(key) for key, _ in rows)
    return "\n".join(f"{key.ljust(width)}  {value}" for key, value in rows)


def _shape(value: np.ndarray[Any, Any]) -> str:
    return f"[{', '.join(map(str, ('N', *value.shape[1:])))}]"
