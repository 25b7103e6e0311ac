# SPDX-License-Identifier: Apache-2.0
"""Runs the user's model to learn what its file does not say reliably: output shapes, and whether it takes batches.

A file may declare a dynamic batch and still hold a reshape to one frame, or declare one frame only by the habit of its
exporter. Both show when two frames are run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as ort_state

from edged.errors import ModelError
from edged.graph import reference
from edged.graph.checks import DTYPES, ImageInput, dimensions, first_line
from edged.graph.custom import custom_operators, register
from edged.graph.loosen import loosened
from edged.graph.outputs.base import ModelOutput
from edged.graph.sizes import HeightWidth, size_bounds
from edged.model import ModelSpec

Arrays = list[NDArray[Any]]

ORT_ERRORS = (
    ort_state.Fail,
    ort_state.InvalidArgument,
    ort_state.InvalidGraph,
    ort_state.InvalidProtobuf,
    ort_state.NotImplemented,
    ort_state.RuntimeException,
)


class Probed(NamedTuple):
    """What running the model showed.

    Attributes:
        model: the user's model; its batch is dynamic now unless ``fixed_batch`` says otherwise.
        fixed_batch: the only batch size that the model takes, None where it takes any.
        outputs: its outputs.
        unknown: operators that ONNX Runtime lacks; the model was not run, and what its file declares was believed.
    """

    model: onnx.ModelProto
    fixed_batch: int | None
    outputs: list[ModelOutput]
    unknown: tuple[str, ...] = ()


def probe(model: onnx.ModelProto, image: ImageInput, spec: ModelSpec, plugins: Sequence[str] = ()) -> Probed:
    """Run a model on noise.

    Args:
        model: the user's model.
        image: its input.
        spec: gives the sizes and the preprocessing.
        plugins: libraries of custom operators.

    Raises:
        ModelError: ONNX Runtime does not run it, and not for the lack of an operator that a library may bring; or an
            output has no batch dimension or an unsupported type.
    """
    _check_types(model, spec)
    unknown = _lacking(model, spec, plugins)
    if unknown:
        return _believed(model, image, spec, unknown)
    smallest, largest = size_bounds(spec.input)
    declared = image.dims[0]
    fixed = declared if isinstance(declared, int) else None
    if fixed is not None or not _takes_two(model, image, spec, plugins):
        model, fixed = _freed(model, image, spec, fixed or 1, plugins)
    session = _session(model, spec, plugins)
    first = last = _run_or_refuse(session, image, _frames(fixed or 2, smallest), spec)
    if smallest != largest or _undeclared(model):
        last = _run_or_refuse(session, image, np.zeros_like(_frames(fixed or 1, largest)), spec)
    return Probed(model, fixed, _outputs(model, first, last, spec, fixed))


def _takes_two(model: onnx.ModelProto, image: ImageInput, spec: ModelSpec, plugins: Sequence[str]) -> bool:
    """Whether a model that declares a dynamic batch does take two frames, and gives something for each."""
    session = _session(model, spec, plugins)
    try:
        results = _run(session, image, _frames(2, size_bounds(spec.input)[0]), spec)
    except ORT_ERRORS:
        return False
    return all(value.shape[:1] == (2,) for value in results)


def _lacking(model: onnx.ModelProto, spec: ModelSpec, plugins: Sequence[str]) -> tuple[str, ...]:
    """Custom operators that ONNX Runtime cannot run even with the libraries given, and that TensorRT may know."""
    operators = custom_operators(model) if plugins else {}
    if not operators:
        return ()
    try:
        _session(model, spec, plugins)
    except ModelError:
        return tuple(sorted(operators))
    return ()


def _believed(model: onnx.ModelProto, image: ImageInput, spec: ModelSpec, unknown: tuple[str, ...]) -> Probed:
    """What the file itself declares, for a model that nobody here can run."""
    declared = image.dims[0]
    fixed = declared if isinstance(declared, int) else None
    outputs = []
    for info in model.graph.output:
        dims = dimensions(info)
        sizes = tuple(dim for dim in dims[1:] if isinstance(dim, int))
        if not dims or len(sizes) != len(dims) - 1 or (isinstance(dims[0], int) and dims[0] != fixed):
            raise ModelError(
                f"output {info.name} is declared as {list(dims)}, and ONNX Runtime cannot run the model to see its "
                f"shape, for the lack of {', '.join(unknown)}",
                where=str(spec.onnx),
                remedy="export the model with outputs [N, ...] whose extents after the batch are numbers",
            )
        dtype = DTYPES[info.type.tensor_type.elem_type]
        outputs.append(ModelOutput(info.name, dtype, dims, sizes, sizes, isinstance(spec.input.size, list | tuple)))
    return Probed(model, fixed, outputs, unknown)


def _outputs(
    model: onnx.ModelProto, first: Arrays, last: Arrays, spec: ModelSpec, fixed: int | None
) -> list[ModelOutput]:
    outputs = []
    for info, small, large in zip(model.graph.output, first, last, strict=True):
        if small.ndim < 1 or large.ndim < 1 or small.shape[0] != (fixed or 2):
            raise ModelError(
                f"the first dimension of output {info.name} {list(small.shape)} is not the batch",
                where=str(spec.onnx),
                remedy="export the model with outputs [N, ...]",
            )
        outputs.append(
            ModelOutput(
                name=info.name,
                dtype=str(small.dtype),
                declared=dimensions(info),
                smallest=small.shape[1:],
                largest=tuple(map(max, small.shape[1:], large.shape[1:])),
                fixed=small.shape[1:] == large.shape[1:],
            )
        )
    return outputs


def _freed(
    model: onnx.ModelProto, image: ImageInput, spec: ModelSpec, batch: int, plugins: Sequence[str]
) -> tuple[onnx.ModelProto, int | None]:
    """The model with a dynamic batch if that changes no result, else as it is with its fixed batch."""
    frames = _frames(2 * batch, size_bounds(spec.input)[0])
    session = _session(model, spec, plugins)
    parts = [_run_or_refuse(session, image, half, spec) for half in np.split(frames, 2)]
    for free in loosened(model, image.name, batch):
        try:
            onnx.shape_inference.infer_shapes(free, check_type=True, strict_mode=True)
            together = _run(_session(free, spec, plugins), image, frames, spec)
        except (onnx.shape_inference.InferenceError, ModelError, *ORT_ERRORS):
            continue
        if all(_together(whole, halves) for whole, *halves in zip(together, *parts, strict=True)):
            return free, None
    return model, batch


def _together(whole: NDArray[Any], halves: Arrays) -> bool:
    """Whether a batch gave what its two halves gave."""
    return bool(whole.ndim) and _same(whole, np.concatenate(halves))


def _same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    """Equal up to what another order of summing changes."""
    if found.shape != expected.shape:
        return False
    if not np.issubdtype(found.dtype, np.floating):
        return bool(np.mean(found == expected) >= 0.99)
    scale = float(np.abs(expected).max(initial=0.0))
    return bool(np.allclose(found, expected, rtol=1e-3, atol=1e-4 * scale, equal_nan=True))


def _session(model: onnx.ModelProto, spec: ModelSpec, plugins: Sequence[str]) -> ort.InferenceSession:
    options = ort.SessionOptions()
    register(options, plugins)
    options.log_severity_level = 4
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except ORT_ERRORS as error:
        lacking = ", ".join(custom_operators(model))
        raise _refusal(error, "load", spec, lacking) from error


def _run(session: ort.InferenceSession, image: ImageInput, frames: NDArray[np.uint8], spec: ModelSpec) -> Arrays:
    values = reference.input_step(frames, spec.input).astype(image.dtype)
    results: Arrays = session.run(None, {image.name: values})
    return results


def _run_or_refuse(
    session: ort.InferenceSession, image: ImageInput, frames: NDArray[np.uint8], spec: ModelSpec
) -> Arrays:
    try:
        return _run(session, image, frames, spec)
    except ORT_ERRORS as error:
        height, width = frames.shape[1:3]
        raise _refusal(error, f"run on {len(frames)} x 3 x {height} x {width}", spec) from error


def _refusal(error: Exception, what: str, spec: ModelSpec, custom: str = "") -> ModelError:
    remedy = "export the model again with standard operators"
    if custom:
        remedy += f", or build an engine with edged-build-engine --plugin and the library that brings {custom}"
    return ModelError(f"ONNX Runtime cannot {what}: {first_line(error)}", where=str(spec.onnx), remedy=remedy)


def _frames(count: int, size: HeightWidth) -> NDArray[np.uint8]:
    """Noise that is the same every time, uint8 [count, H, W, 3]."""
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _undeclared(model: onnx.ModelProto) -> bool:
    """Whether an output's shape has a dimension besides the batch that the file leaves open."""
    shapes: Sequence[tuple[int | str, ...]] = [dimensions(info) for info in model.graph.output]
    return any(not shape or any(isinstance(dim, str) for dim in shape[1:]) for shape in shapes)


def _check_types(model: onnx.ModelProto, spec: ModelSpec) -> None:
    for info in model.graph.output:
        if info.type.tensor_type.elem_type not in DTYPES:
            raise ModelError(
                f"output {info.name} is not a tensor of plain numbers",
                where=str(spec.onnx),
                remedy="export the model with tensors of floats or integers as outputs",
            )
