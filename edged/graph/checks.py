# SPDX-License-Identifier: Apache-2.0
"""What a user's model and labels must be, and what to say when they are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]
from onnx import TensorProto, external_data_helper

from edged.errors import ModelError
from edged.graph.builder import Dimension, default_opset
from edged.graph.custom import check, custom_operators
from edged.model import DynamicSize, ModelSpec

OLDEST_OPSET = 13
LARGEST_BYTES = 1_500_000_000
"""Weights beyond this do not fit into one ONNX file together with what edged adds (protobuf ends at 2 GiB)."""
EXPORT_AGAIN = "export the model again"
DTYPES = {
    TensorProto.FLOAT: "float32",
    TensorProto.FLOAT16: "float16",
    TensorProto.DOUBLE: "float64",
    TensorProto.UINT8: "uint8",
    TensorProto.INT8: "int8",
    TensorProto.UINT16: "uint16",
    TensorProto.INT16: "int16",
    TensorProto.UINT32: "uint32",
    TensorProto.INT32: "int32",
    TensorProto.UINT64: "uint64",
    TensorProto.INT64: "int64",
    TensorProto.BOOL: "bool",
}
"""The element types that numpy and a subscriber can read."""


class ImageInput(NamedTuple):
    """The model's image input.

    Attributes:
        name: tensor name.
        dtype: ``float32`` or ``float16``.
        dims: batch, channels, height, width; a text where a dimension is dynamic.
    """

    name: str
    dtype: str
    dims: tuple[Dimension, Dimension, Dimension, Dimension]


def load_model(path: Path, *, custom: bool = False) -> onnx.ModelProto:
    """Read an ONNX file with all of its weights and bring it to an operator set that edged can extend.

    Args:
        path: the file.
        custom: whether its operators may be other than ONNX's, since there are libraries that may bring them.

    Raises:
        ModelError: missing, empty, truncated, not ONNX, weights missing or too large, invalid, or too old to convert.
    """
    where = str(path)
    _check_size(path)
    try:
        model = onnx.load(where, load_external_data=False)
    except OSError as error:
        raise ModelError(
            f"the ONNX file cannot be read ({error.strerror})", where=where, remedy="check its permissions"
        ) from error
    except (DecodeError, ValueError) as error:
        raise ModelError(
            "the file is not ONNX, or it is truncated", where=where, remedy="copy or export it again"
        ) from error
    if not model.graph.node or default_opset(model) == 0:
        raise ModelError("the file holds no ONNX graph, or it is truncated", where=where, remedy=EXPORT_AGAIN)
    _load_weights(model, path)
    try:
        check(model) if custom else onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        unknown = "" if custom else ", ".join(custom_operators(model))
        remedy = (
            f"give the libraries that bring {unknown} with edged-build-engine --plugin" if unknown else EXPORT_AGAIN
        )
        raise ModelError(f"the ONNX graph is invalid: {first_line(error)}", where=where, remedy=remedy) from error
    return _upgraded(model, where)


def first_line(error: BaseException) -> str:
    """The first line of an error that says something."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)


def image_input(model: onnx.ModelProto, spec: ModelSpec) -> ImageInput:
    """The one image input of a model.

    Raises:
        ModelError: there is not exactly one input, or it is not [N, 3, H, W] of floats in the size that the spec says.
    """
    where = str(spec.onnx)
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [info for info in model.graph.input if info.name not in weights]
    found = ", ".join(f"{info.name} {_shape_text(info)}" for info in inputs) or "none"
    expected = "the model must have one image input, float32 or float16 [N, 3, H, W]"
    remedy = "export the model with such an input, without preprocessing of its own"
    if len(inputs) != 1:
        raise ModelError(f"{expected}; found {len(inputs)} inputs: {found}", where=where, remedy=remedy)
    dims = dimensions(inputs[0])
    dtype = DTYPES.get(inputs[0].type.tensor_type.elem_type, "another type")
    if dtype not in ("float32", "float16") or len(dims) != 4 or (isinstance(dims[1], int) and dims[1] != 3):
        raise ModelError(f"{expected}; found {found} of {dtype}", where=where, remedy=remedy)
    _check_extent(dims, spec)
    return ImageInput(inputs[0].name, dtype, (dims[0], dims[1], dims[2], dims[3]))


def dimensions(info: onnx.ValueInfoProto) -> tuple[Dimension, ...]:
    """Declared dimensions of a tensor: numbers, names, or ``?``; empty where no shape is declared."""
    return tuple(
        dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else dim.dim_param or "?"
        for dim in info.type.tensor_type.shape.dim
    )


def _check_size(path: Path) -> None:
    where = str(path)
    if not path.is_file():
        what = "is a folder, not an ONNX file" if path.is_dir() else "the ONNX file does not exist"
        raise ModelError(what, where=where, remedy="correct the key onnx of the model spec")
    size = path.stat().st_size
    if size == 0:
        raise ModelError("the ONNX file is empty (0 bytes)", where=where, remedy="copy or export it again")
    _refuse_too_large(size, where)


def _refuse_too_large(size: int, where: str) -> None:
    if size > LARGEST_BYTES:
        raise ModelError(
            f"the model has {size / 1e9:.1f} GB of weights; edged takes at most {LARGEST_BYTES / 1e9:.1f} GB",
            where=where,
            remedy="use a smaller model or float16 weights",
        )


def _load_weights(model: onnx.ModelProto, path: Path) -> None:
    """Take weights that lie in files of their own into the model."""
    external = [tensor for tensor in _tensors(model.graph) if external_data_helper.uses_external_data(tensor)]
    files = {external_data_helper.ExternalDataInfo(tensor).location for tensor in external}
    for name in sorted(files):
        if not (path.parent / name).is_file():
            raise ModelError(
                f"its weights file {name!r} is missing", where=str(path), remedy="copy it into the same folder"
            )
    _refuse_too_large(sum((path.parent / name).stat().st_size for name in files), str(path))
    if not external:
        return
    try:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        names = ", ".join(sorted(files))
        raise ModelError(
            f"its weights file {names} does not fit: {first_line(error)}", where=str(path), remedy="copy it again"
        ) from error


def _tensors(graph: onnx.GraphProto) -> Iterator[TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for inner in (attribute.g, *attribute.graphs):
                yield from _tensors(inner)


def _upgraded(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    opset = default_opset(model)
    if opset >= OLDEST_OPSET:
        return model
    try:
        model = onnx.version_converter.convert_version(model, OLDEST_OPSET)
        check(model)
    except (RuntimeError, onnx.version_converter.ConvertError, onnx.checker.ValidationError) as error:
        raise ModelError(
            f"the model has opset {opset} and cannot be converted to {OLDEST_OPSET}: {first_line(error)}",
            where=where,
            remedy=f"export it again with opset {OLDEST_OPSET} to 17",
        ) from error
    return model


def _check_extent(dims: tuple[Dimension, ...], spec: ModelSpec) -> None:
    size = spec.input.size
    given = [dim for dim in dims[2:] if isinstance(dim, int)]
    if isinstance(size, DynamicSize):
        if given:
            raise ModelError(
                f"the spec's input size is dynamic, but the model takes {_extent(dims[2:])} (height x width) only",
                where=str(spec.onnx),
                remedy="give that size in [input], or export the model with dynamic height and width",
            )
    elif any(isinstance(dim, int) and dim != wanted for dim, wanted in zip(dims[2:], size, strict=True)):
        raise ModelError(
            f"the spec says input size {_extent(size)} (height x width), but the model takes {_extent(dims[2:])}",
            where=str(spec.onnx),
            remedy="correct size in [input], or export the model in that size",
        )


def _extent(size: tuple[Dimension, ...] | list[int]) -> str:
    return " x ".join(str(value) for value in size)


def _shape_text(info: onnx.ValueInfoProto) -> str:
    return f"[{', '.join(str(dim) for dim in dimensions(info))}]"
