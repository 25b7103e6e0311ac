# SPDX-License-Identifier: Apache-2.0
"""The prepared graph as TensorRT's builder wants it: opset, types, and the input step left to the kernel."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import onnx

from edged.engine import trial
from edged.engine.half import QUANTIZERS, half_typed
from edged.engine.key import InputStep, Precision, Profile
from edged.engine.opset import changed_opset
from edged.engine.protocol import Note
from edged.engine.toolkit import Toolkit
from edged.engine.workshop import Job
from edged.errors import EngineError
from edged.files import write_atomically
from edged.gpu.engines import ShapeRange
from edged.gpu.pixels import PixelStep
from edged.gpu.plan_file import FrontSpec
from edged.graph.builder import FRAMES, default_opset
from edged.graph.cut import without_input_step
from edged.graph.sizes import size_bounds

HALF: tuple[Precision, ...] = ("fp16", "int8")
"""What has float16 in it."""


class Fitted(NamedTuple):
    """A graph for the builder.

    Attributes:
        path: where it lies.
        given: name of its input.
        front: what turns frames into that input; None where it is the frames.
        conversions: what was changed, in words.
    """

    path: Path
    given: str
    front: FrontSpec | None
    conversions: tuple[str, ...]

    def ranges(self, profile: Profile) -> Mapping[str, ShapeRange]:
        """An optimisation profile, said of the graph's input."""
        sizes = zip(profile.batch, profile.height, profile.width, strict=True)
        smallest, best, largest = (
            (batch, height, width, 3) if self.front is None else (batch, 3, height, width)
            for batch, height, width in sizes
        )
        return {self.given: ShapeRange(smallest, best, largest)}


def fitted(job: Job, toolkit: Toolkit, precision: Precision, typed: bool, input_step: InputStep) -> Fitted:
    """Bring a job's graph into shape.

    Args:
        job: with the prepared graph.
        toolkit: the builder's side.
        precision: that is asked for.
        typed: whether the builder takes the precision from the graph's types.
        input_step: who computes it.

    Raises:
        EngineError: it cannot be brought into shape.
    """
    model, conversions = job.model, []
    opset, limit = default_opset(model), toolkit.parser_opset
    if opset > limit:
        model = _lowered(job, toolkit, limit)
        conversions.append(f"opset {opset} to {limit}, the newest that {toolkit.facts.runtime} takes")
    model = _copied(model)
    if name_kernels(model):
        conversions.append("convolutions say how large their kernels are")
    given, front = FRAMES, None
    if input_step == "kernel":
        cut = without_input_step(model, job.spec.input)
        model, given = cut.model, cut.image
        front = FrontSpec(FRAMES, PixelStep(cut.factor, cut.shift, cut.rgb))
        conversions.append("the input step is computed by edged's own kernel")
    if typed and precision in HALF:
        model = half_typed(model, half_inputs=() if front is None else (given,))
        conversions.append("float16 from the input step to the end of the model")
    if not conversions:
        return Fitted(Path(job.prepared.path), given, front, ())
    path = job.scratch / "graph.onnx"
    write_atomically(path, model.SerializeToString())
    for conversion in conversions:
        job.tell(Note(f"converted: {conversion}"))
    return Fitted(path, given, front, tuple(conversions))


def _copied(model: onnx.ModelProto) -> onnx.ModelProto:
    own = onnx.ModelProto()
    own.CopyFrom(model)
    return own


def name_kernels(model: onnx.ModelProto) -> int:
    """Have every convolution with quantized weights say its kernel's size, in place; tells how many did not.

    Optional in ONNX, but TensorRT's parser cannot see it through Q/DQ nodes (8.6 refuses the convolution).
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    shapes = {tensor.name: list(tensor.dims) for tensor in model.graph.initializer}
    named = 0
    for node in model.graph.node:
        if node.op_type not in ("Conv", "ConvTranspose") or any(one.name == "kernel_shape" for one in node.attribute):
            continue
        weights = node.input[1]
        while weights in makers and makers[weights].op_type in QUANTIZERS:
            weights = makers[weights].input[0]
        if weights != node.input[1] and weights in shapes:
            node.attribute.append(onnx.helper.make_attribute("kernel_shape", shapes[weights][2:]))
            named += 1
    return named


def _lowered(job: Job, toolkit: Toolkit, limit: int) -> onnx.ModelProto:
    model = changed_opset(job.model, limit)
    size, count = size_bounds(job.spec.input)[0], job.prepared.fixed_batch or 1
    where, plugins = str(job.spec.onnx), job.request.plugins
    if job.prepared.unknown:
        job.tell(
            Note(
                "whether the graph computes the same in another opset cannot be tried: ONNX Runtime lacks "
                f"{', '.join(job.prepared.unknown)}"
            )
        )
        return model
    before = trial.run(job.model.SerializeToString(), count, size, where, plugins)
    if not trial.same(before, trial.run(model.SerializeToString(), count, size, where, plugins)):
        raise EngineError(
            f"the graph computes something else once it is converted from opset {default_opset(job.model)} to "
            f"{limit}, the newest that {toolkit.facts.runtime} takes",
            where=where,
            remedy=f"export the model again with opset {limit} or lower",
        )
    return model
