# SPDX-License-Identifier: Apache-2.0
"""Engines for TensorRT: checks the graph against the installed version, brings it into shape, has it built."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edged.engine.bench import Bench, OrtBench, TrtBench
from edged.engine.footprint import activation_bytes, weight_bytes
from edged.engine.half import OUTPUT_STEP
from edged.engine.key import Backend, BuilderOptions, EngineKey, Precision, Profile
from edged.engine.manifest import GpuMemory, ShapeSpan, Tensor
from edged.engine.opset import nodes
from edged.engine.padding import at_least
from edged.engine.profiles import batches_for, largest_batch, profiles_for
from edged.engine.protocol import Note, Phase
from edged.engine.steps import Steps
from edged.engine.timing_cache import keep, kept
from edged.engine.toolkit import Inspected, Toolkit
from edged.engine.trt_graph import HALF, Fitted, fitted
from edged.engine.workshop import Job, Made, Run, digests
from edged.errors import EdgedError, EngineError, StateDirError
from edged.gpu.engines import EngineInfo
from edged.gpu.plan_file import packed_plan
from edged.gpu.trt.build import BuildOptions
from edged.graph.sizes import size_bounds

if TYPE_CHECKING:
    from edged.engine.race.entrant import Course, Stand

_MIB = 1 << 20


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
        typed = toolkit.strongly_typed and (key.precision in HALF or not toolkit.weakly_typed)
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

    @contextmanager
    def open(self, job: Job, key: EngineKey, made: Made) -> Iterator[Run]:
        """The engine on the GPU, as the daemon has it."""
        profile = key.profiles[0]
        with self._toolkit.open(made.content, job.prepared, profile.batch[2]) as run:
            yield at_least(run, profile.batch[0])

    def stand(self, job: Job, key: EngineKey, made: Made) -> Callable[[Course], Stand]:  # noqa: ARG002 - the interface
        """The engine on the GPU behind the daemon's pipeline."""
        return self._toolkit.stand(made.content, job.prepared)

    def benches(self, job: Job) -> Sequence[Bench]:
        """TensorRT, then ONNX Runtime."""
        return [TrtBench(self._toolkit, job), OrtBench(job.request.plugins, job.request.device)]

    def close(self) -> None:
        """Give the GPU back."""
        self._toolkit.close()

    def _built(self, job: Job, key: EngineKey, typed: bool) -> tuple[bytes, Inspected, tuple[str, ...]]:
        """The plan, what it says of itself, and what was changed in the graph."""
        assert key.options is not None
        graph = fitted(job, self._toolkit, key.precision, typed, key.options.input_step)
        job.tell(Phase("building" if self._toolkit.reports_progress else "building (this TensorRT tells no progress)"))
        cache = Path(job.request.timing_cache)
        options = self._options(key, kept(cache), typed, graph)
        try:
            built = self._toolkit.build(graph.path, options, Steps(job.tell))
            self._keep(cache, built.timing_cache, job)
            job.tell(Phase("loading it once"))
            content = built.plan if graph.front is None else packed_plan(built.plan, graph.front)
            return content, self._toolkit.inspect(content), graph.conversions
        except EdgedError as error:
            raise _of_the_model(error, job, graph.path) from error

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

    def _options(self, key: EngineKey, timing_cache: bytes, typed: bool, graph: Fitted) -> BuildOptions:
        assert key.options is not None
        return BuildOptions(
            profiles=tuple(graph.ranges(profile) for profile in key.profiles),
            precision=key.precision,
            strongly_typed=typed,
            float_layers=(OUTPUT_STEP,),
            takes_image=graph.front is not None,
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
