# SPDX-License-Identifier: Apache-2.0
"""A prepared graph without its input step, for backends that compute that step by other means."""

from __future__ import annotations

from typing import NamedTuple

import onnx
from onnx import helper

from edged.graph.builder import FRAMES, OWN_PREFIX
from edged.graph.inputs import folded_constants
from edged.model import InputSpec

INPUT_STEP = f"{OWN_PREFIX}input/"


class CutGraph(NamedTuple):
    """A graph that takes the image.

    Attributes:
        model: the rest.
        image: name of its input, [N, 3, H, W].
        factor: with ``shift``, what the step that was cut away computes, per channel in the order of the image.
        shift: see ``factor``.
        rgb: whether the image's channels are red, green, blue.
    """

    model: onnx.ModelProto
    image: str
    factor: tuple[float, float, float]
    shift: tuple[float, float, float]
    rgb: bool


def without_input_step(model: onnx.ModelProto, spec: InputSpec) -> CutGraph:
    """A copy of a prepared graph that begins where its input step ends.

    Args:
        model: prepared; its own input step is the one of ``spec``.
        spec: how pixels become values.

    Raises:
        ValueError: the graph has no input step that ends in one tensor.
    """
    step = [node for node in model.graph.node if node.name.startswith(INPUT_STEP)]
    made = {name for node in step for name in node.output}
    rest = [node for node in model.graph.node if not node.name.startswith(INPUT_STEP)]
    ends = list(dict.fromkeys(name for node in rest for name in node.input if name in made))
    if len(ends) != 1:
        raise ValueError(f"the graph has no input step that ends in one tensor, but {ends}")
    (image,) = ends
    cut = onnx.ModelProto()
    cut.CopyFrom(model)
    del cut.graph.node[:]
    cut.graph.node.extend(rest)
    _forget_constants(cut.graph, step)
    (frames,) = (info for info in model.graph.input if info.name == FRAMES)
    batch, height, width, _ = (one.dim_param or one.dim_value for one in frames.type.tensor_type.shape.dim)
    own = [info for info in model.graph.input if info.name != FRAMES]
    del cut.graph.input[:]
    dtype = onnx.TensorProto.FLOAT16 if _casts_to_half(step, image) else onnx.TensorProto.FLOAT
    cut.graph.input.extend([helper.make_tensor_value_info(image, dtype, [batch, 3, height, width]), *own])
    _drop_info(cut.graph, made)
    factor, shift = folded_constants(spec)
    return CutGraph(cut, image, _three(factor), _three(shift), spec.color == "rgb")


def _casts_to_half(step: list[onnx.NodeProto], image: str) -> bool:
    (last,) = (node for node in step if image in node.output)
    types = [attribute.i for attribute in last.attribute if attribute.name == "to"]
    return last.op_type == "Cast" and types == [onnx.TensorProto.FLOAT16]


def _forget_constants(graph: onnx.GraphProto, step: list[onnx.NodeProto]) -> None:
    used = {name for node in graph.node for name in node.input}
    gone = {name for node in step for name in node.input} - used
    kept = [tensor for tensor in graph.initializer if tensor.name not in gone]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def _drop_info(graph: onnx.GraphProto, made: set[str]) -> None:
    kept = [info for info in graph.value_info if info.name not in made]
    del graph.value_info[:]
    graph.value_info.extend(kept)


def _three(values: list[float]) -> tuple[float, float, float]:
    first, second, third = values
    return first, second, third
