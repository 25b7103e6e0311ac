# SPDX-License-Identifier: Apache-2.0
"""Builds a prepared graph in memory: everything here needs onnx, which :mod:`edged.graph.prepare` loads only then."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from edged.errors import DecoderError
from edged.graph.builder import GraphBuilder, default_opset, reserve_names
from edged.graph.checks import first_line, image_input, load_model
from edged.graph.custom import check, custom_operators
from edged.graph.inputs import attach_input
from edged.graph.labels import load_labels
from edged.graph.outputs.base import find_decoder
from edged.graph.prepare import PreparedModel
from edged.graph.probe import probe
from edged.graph.sizes import size_bounds
from edged.model import DynamicSize, ModelSpec


def build(spec: ModelSpec, digest: str, path: str, plugins: Sequence[str] = ()) -> tuple[bytes, PreparedModel]:
    """Wrap the model of a spec in its input step and its output step.

    Args:
        spec: the model spec.
        digest: identity of the result, recorded in it.
        path: where the result is going to lie, recorded in it.
        plugins: libraries of custom operators, for ONNX Runtime or for TensorRT.

    Returns:
        The ONNX file's bytes, and what is to be known of it.

    Raises:
        ModelError: the model or its labels cannot be used.
        DecoderError: the decoder is unknown or does not fit the model's outputs.
    """
    decoder = find_decoder(spec)
    model = reserve_names(load_model(spec.onnx, custom=bool(plugins)), spec)
    image = image_input(model, spec)
    probed = probe(model, image, spec, plugins)
    classes = decoder.check(probed.outputs, spec)
    labels = load_labels(spec.labels, classes)
    model = probed.model
    batch = probed.fixed_batch or "batch"
    attach_input(model, image, spec.input, batch)
    if custom_operators(model):
        # Nothing else tells what comes out of operators that ONNX does not know.
        model.graph.value_info.extend(model.graph.output)
    del model.graph.output[:]
    graph = GraphBuilder(model, "output", batch)
    outputs = decoder.attach(graph, probed.outputs, spec)
    graph.append()
    try:
        check(model)
    except onnx.checker.ValidationError as error:
        raise DecoderError(
            f"decoder {decoder.name} made an invalid graph: {first_line(error)}", where=str(spec.onnx)
        ) from error
    return model.SerializeToString(deterministic=True), PreparedModel(
        digest=digest,
        path=path,
        task=spec.task,
        decoder=spec.decoder,
        classes=classes,
        labels=labels,
        input_size=size_bounds(spec.input)[1],
        dynamic=isinstance(spec.input.size, DynamicSize),
        fixed_batch=probed.fixed_batch,
        outputs=outputs,
        opset=default_opset(model),
        model_id=spec.id,
        unknown=list(probed.unknown),
    )
