# SPDX-License-Identifier: Apache-2.0
"""PyTorch's two exporters, and what is done to their graphs.

The classic one traces the model and writes opset 7 to 20 at once; PyTorch has deprecated it. The newer one (dynamo)
starts from torch.export, writes opset 18 on and needs onnxscript. For TensorRT 8.6, whose parser ends at opset 17, the
classic one gives the graph as it should be, so it comes first; where it fails, the newer one follows.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from numpy.typing import NDArray

from edged.engine.opset import changed_opset, nodes
from edged.errors import EngineError
from edged.export.blame import place, told
from edged.export.outputs import tensors
from edged.graph.builder import default_opset

INPUT = "image"
BATCH = "batch"
DYNAMO_OPSET = 18
"""The oldest that the newer exporter writes."""
_EXAMPLE_BATCH = 2  # 1 would be taken for a constant
_LOGGERS = ("torch.onnx", "torch.export", "torch._dynamo", "torch.fx", "onnxscript", "onnx_ir")


class ExportFailedError(Exception):
    """An exporter did not make it; says why in one line."""


class Exported(NamedTuple):
    """What an exporter made.

    Attributes:
        model: the graph.
        suspects: lines of the user's code that the exporter doubts it has understood.
    """

    model: onnx.ModelProto
    suspects: list[str]


def export(
    torch: Any, name: str, model: Any, frame: NDArray[np.float32], outputs: Sequence[str], opset: int
) -> Exported:
    """Export a model.

    Args:
        torch: the package.
        name: ``classic`` or ``dynamo``.
        model: to export.
        frame: one frame, float32 [1, 3, H, W].
        outputs: names of the tensors to keep, in order.
        opset: wanted; the newer exporter's graph has a newer one where it cannot be lowered.

    Raises:
        ExportFailedError: the exporter failed.
    """
    flat = _flat(torch, model, outputs)
    example = torch.from_numpy(np.repeat(frame, _EXAMPLE_BATCH, axis=0))
    run = _classic if name == "classic" else _dynamo
    with _quiet() as heard:
        try:
            with torch.no_grad():
                exported = run(torch, flat, example, list(outputs), opset)
        except Exception as error:  # exporters fail in any way; the caller tries the other one or says why
            raise ExportFailedError(told(error)) from error
    model = _cleaned(exported)
    suspects = [place(warning.filename, warning.lineno) for warning in heard if "Tracer" in warning.category.__name__]
    return Exported(_lowered(model, opset), list(dict.fromkeys(suspects)))


def _flat(torch: Any, model: Any, outputs: Sequence[str]) -> Any:
    """The model, returning a tuple of the tensors wanted; made here, since its base class is torch's."""

    class Flat(torch.nn.Module):  # type: ignore[misc, unused-ignore]
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, image: Any) -> Any:
            found = dict(tensors(torch, self.model(image)))
            return tuple(found[name] for name in outputs)

    return Flat().eval()


def _classic(torch: Any, model: Any, example: Any, outputs: list[str], opset: int) -> onnx.ModelProto:
    options = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        torch.onnx.export(
            model,
            (example,),
            str(path),
            input_names=[INPUT],
            output_names=outputs,
            opset_version=opset,
            dynamic_axes={name: {0: BATCH} for name in (INPUT, *outputs)},
            **options,
        )
        return onnx.load(path)


def _dynamo(torch: Any, model: Any, example: Any, outputs: list[str], opset: int) -> onnx.ModelProto:
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=outputs,
        # Older ones are ours to convert: PyTorch's own conversion gives up on more operators.
        opset_version=max(opset, DYNAMO_OPSET),
        dynamic_shapes=({0: torch.export.Dim(BATCH)},),
    )
    graph: onnx.ModelProto = program.model_proto
    return graph


def _cleaned(model: onnx.ModelProto) -> onnx.ModelProto:
    """Without traces of the machine that exported it: source paths, comments, and shapes of the example."""
    for node in nodes(model.graph):
        node.ClearField("doc_string")
        if hasattr(node, "metadata_props"):
            node.ClearField("metadata_props")
    del model.graph.value_info[:]
    del model.metadata_props[:]
    for part in (model, model.graph, *model.graph.input, *model.graph.output, *model.graph.initializer):
        part.ClearField("doc_string")
        if hasattr(part, "metadata_props"):
            part.ClearField("metadata_props")
    return model


def _lowered(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """In the opset wanted if it can be had."""
    if default_opset(model) <= opset:
        return model
    lower = onnx.ModelProto()
    lower.CopyFrom(model)
    for node in nodes(lower.graph):
        # A reduction says so where it means what older ones mean anyway, who do not know the word.
        plain = [one for one in node.attribute if not (one.name == "noop_with_empty_axes" and one.i == 0)]
        if len(plain) < len(node.attribute):
            del node.attribute[:]
            node.attribute.extend(plain)
    try:
        return changed_opset(lower, opset)
    except EngineError:
        return model


@contextlib.contextmanager
def _quiet() -> Iterator[list[warnings.WarningMessage]]:
    """Keep what exporters say to themselves off the terminal; the warnings are handed over.

    Some of it is written by C++ code, so the descriptor itself leads elsewhere meanwhile.
    """
    sys.stdout.flush()
    stdout, nowhere = os.dup(1), os.open(os.devnull, os.O_WRONLY)
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    os.dup2(nowhere, 1)
    try:
        with warnings.catch_warnings(record=True) as heard, contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("always")
            yield heard
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
        os.close(nowhere)
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
