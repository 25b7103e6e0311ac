# SPDX-License-Identifier: Apache-2.0
"""Engines for TensorRT: checks the graph against the installed version, brings it into shape, has it built."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import onnx

from edged.engine import trial
from edged.engine.footprint import activation_bytes, weight_bytes
from edged.engine.half import OUTPUT_STEP, half_typed
from edged.engine.key import Backend, BuilderOptions, EngineKey, Precision, Profile
from edged.engine.manifest import GpuMemory, ShapeSpan, Tensor
from edged.engine.opset import changed_opset, nodes
from edged.engine.profiles import batches_for, largest_batch, profiles_for
from edged.engine.protocol import Note, Phase
from edged.engine.steps import Steps
from edged.engine.timing_cache import keep, kept
from edged.engine.toolkit import Inspected, Toolkit
from edged.engine.workshop import Job, Made, digests
from edged.errors import EdgedError, EngineError, StateDirError
from edged.files import write_atomically
from edged.gpu.engines import EngineInfo, ShapeRange
from edged.gpu.trt.build import BuildOptions
from edged.graph.builder import FRAMES, default_opset
from edged.graph.sizes import size_bounds

_MIB = 1 << 20
_HALF: tuple[Precision, ...] = ("fp16", "int8")
"""What has float16 in it."""


class TrtWorkshop:
    """Builds for TensorRT.

    Args:
        toolkit: GPU and TensorRT; belongs to the workshop from now on.
        plugins: libraries that the toolkit has loaded.
    """

    backend: Backend = "tensorrt"

    def __init__(self, toolkit: Toolkit, plugins: tuple[str, ...] = ()) -> None:
        self._toolkit = toolkit
        self.device = toolkit.device
        self.plugins = digests(plugins)

    def key(self, job: Job, precision: Precision) -> EngineKey:
        """Model, shapes, options, and all that a plan is tied to."""
        request, facts = job.request, self._toolkit.facts
        limit = self._batch_limit(job) if request.max_batch == "auto" else request.max_batch
        batches, note = batches_for(request.batches, limit, job.prepared.fixed_batch)
        if note:
            job.tell(Note(note))
        return EngineKey(
            model=job.prepared.digest,
            precision=precision,
            backend=self.backend,
            runtime=facts.runtime,
            profiles=profiles_for(batches, job.spec.input),
            options=BuilderOptions(
                workspace_mb=request.workspace_mb,
                optimization_level=request.optimization_level,
                aux_streams=request.aux_streams,
                plugins=tuple(plugin.sha256 for plugin in self.plugins),
            ),
            gpu=facts.gpu,
            compute_capability=facts.compute_capability,
            driver=facts.driver,
        )

    def make(self, job: Job, key: EngineKey) -> Made:
        """Check, convert, build, and load once to see what came of it."""
        job.tell(Phase("checking the graph against TensorRT"))
        self._refuse_unknown(job)
        toolkit = self._toolkit
        # Types in the graph say exactly what is computed in what; flags are permissions, which only old versions need.
        typed = toolkit.strongly_typed and (key.precision in _HALF or not toolkit.weakly_typed)
        try:
            plan, inspected, conversions = self._built(job, key, typed)
        except EngineError as error:
            if not typed or not toolkit.weakly_typed:
                raise
            job.tell(Note(f"the strongly typed build failed, so types are left to TensorRT: {error.what}"))
            plan, inspected, conversions = self._built(job, key, typed=False)
            conversions = (*conversions, f"weakly typed, since strongly typed it cannot be built: {error.what}")
        info = inspected.info
        memory = GpuMemory(
            weights=inspected.weight_bytes, activations=info.activation_bytes, io=_io_bytes(job, key.profiles)
        )
        return Made(
            content=plan,
            tensors=_tensors(info),
            max_batch=max(profile.batch[2] for profile in key.profiles),
            memory=memory,
            layers=info.layers,
            aux_streams=info.aux_streams,
            conversions=conversions,
        )

    def close(self) -> None:
        """Give the GPU back."""
        self._toolkit.close()

    def _built(self, job: Job, key: EngineKey, typed: bool) -> tuple[bytes, Inspected, tuple[str, ...]]:
        """The plan, what it says of itself, and what was changed in the graph."""
        path, conversions = self._fitted(job, key.precision, typed)
        job.tell(Phase("building" if self._toolkit.reports_progress else "building (this TensorRT tells no progress)"))
        cache = Path(job.request.timing_cache)
        options = self._options(key, kept(cache), typed)
        try:
            built = self._toolkit.build(path, options, Steps(job.tell))
            self._keep(cache, built.timing_cache, job)
            job.tell(Phase("loading it once"))
            return built.plan, self._toolkit.inspect(built.plan), conversions
        except EdgedError as error:
            raise _of_the_model(error, job, path) from error

    def _keep(self, path: Path, content: bytes, job: Job) -> None:
        try:
            keep(path, content)
        except StateDirError as error:
            # Minutes of building are worth more than the next build's speed.
            job.tell(Note(str(error)))

    def _batch_limit(self, job: Job) -> int:
        """What the GPU's free memory takes: weights and workspace once, activations and tensors for each slot."""
        fixed = 2 * weight_bytes(job.model) + job.request.workspace_mb * _MIB
        size = size_bounds(job.spec.input)[1]
        frame = job.request.slots * (activation_bytes(job.model, size) + _frame_bytes(job))
        budget = self._toolkit.budget_bytes()
        limit = largest_batch(budget, fixed, frame)
        job.tell(Note(f"max batch {limit}: {budget / _MIB:.0f} MiB for about {frame / _MIB:.1f} MiB a frame"))
        return limit

    def _refuse_unknown(self, job: Job) -> None:
        own = {function.name for function in job.model.functions}
        counts = Counter(node.op_type for node in nodes(job.model.graph) if node.op_type not in own)
        unknown = self._toolkit.unsupported(sorted(counts))
        if unknown:
            found = ", ".join(f"{operator} (in {counts[operator]} nodes)" for operator in unknown)
            raise EngineError(
                f"{self._toolkit.facts.runtime} lacks operators of the model: {found}",
                where=str(job.spec.onnx),
                remedy="export the model without them, give a library that has them with --plugin, "
                "or use --backend onnxruntime",
            )

    def _fitted(self, job: Job, precision: Precision, typed: bool) -> tuple[Path, tuple[str, ...]]:
        """The graph as the builder wants it: where it lies, and what was changed."""
        model, conversions = job.model, []
        opset, limit = default_opset(model), self._toolkit.parser_opset
        if opset > limit:
            model = self._lowered(job, limit)
            conversions.append(f"opset {opset} to {limit}, the newest that {self._toolkit.facts.runtime} takes")
        if typed and precision in _HALF:
            model = half_typed(model)
            conversions.append("float16 from the input step to the end of the model")
        if not conversions:
            return Path(job.prepared.path), ()
        path = job.scratch / "graph.onnx"
        write_atomically(path, model.SerializeToString())
        for conversion in conversions:
            job.tell(Note(f"converted: {conversion}"))
        return path, tuple(conversions)

    def _lowered(self, job: Job, limit: int) -> onnx.ModelProto:
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
                f"{limit}, the newest that {self._toolkit.facts.runtime} takes",
                where=where,
                remedy=f"export the model again with opset {limit} or lower",
            )
        return model

    def _options(self, key: EngineKey, timing_cache: bytes, typed: bool) -> BuildOptions:
        assert key.options is not None
        return BuildOptions(
            profiles=tuple({FRAMES: _span(profile)} for profile in key.profiles),
            precision=key.precision,
            strongly_typed=typed,
            float_layers=(OUTPUT_STEP,),
            workspace_bytes=key.options.workspace_mb * _MIB,
            optimization_level=key.options.optimization_level,
            aux_streams=key.options.aux_streams,
            timing_cache=timing_cache,
            # What cuDNN and cuBLAS would add is not worth needing them, and their GPU memory, wherever the engine runs.
            library_tactics=False,
        )


def _of_the_model(error: EdgedError, job: Job, path: Path) -> EdgedError:
    """An error of TensorRT's, said of the user's file instead of a graph in a scratch folder."""
    if error.exit_code != EngineError.exit_code:
        return error
    where = str(job.spec.onnx) if error.where == str(path) else error.where
    return EngineError(error.what, where=where, remedy=error.remedy)


def _span(profile: Profile) -> ShapeRange:
    shapes = zip(profile.batch, profile.height, profile.width, strict=True)
    smallest, best, largest = ((batch, height, width, 3) for batch, height, width in shapes)
    return ShapeRange(smallest, best, largest)


def _tensors(info: EngineInfo) -> tuple[Tensor, ...]:
    return tuple(
        Tensor(
            name=tensor.name,
            role="input" if tensor.is_input else "output",
            dtype=tensor.dtype,
            shape=tensor.shape,
            profiles=tuple(ShapeSpan(min=span.smallest, opt=span.best, max=span.largest) for span in tensor.ranges),
        )
        for tensor in info.tensors
    )


def _frame_bytes(job: Job) -> int:
    """Of one frame's part of input and outputs."""
    height, width = job.prepared.input_size
    return height * width * 3 + sum(
        math.prod(spec.shape) * np.dtype(spec.dtype).itemsize for spec in job.prepared.outputs
    )


def _io_bytes(job: Job, profiles: tuple[Profile, ...]) -> int:
    return max(profile.batch[2] for profile in profiles) * _frame_bytes(job)
