# SPDX-License-Identifier: Apache-2.0
"""What the supervisor derives from the settings and the prepared model: the rings' sizes and each child's plan."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

import msgspec

from edged.messages import EngineHealth, ModelRef
from edged.model import DynamicSize
from edged.records import TensorSpec
from edged.runtime.layout import layout_of
from edged.runtime.members import Member
from edged.runtime.plans import (
    CapturePlan,
    ChosenEngine,
    EngineWish,
    InferPlan,
    OutputPlan,
    PreparePlan,
    PublishPlan,
    SourcePlan,
    VerifyPlan,
)
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup, SourceSetup
from edged.shm.board import FIRST_CAPTURE_ROW

_SEND_S = 5.0
_DEFAULT_DELAY_MS = 4.0
_DEFAULT_BATCH = 1
_DEFAULT_BATCH_GPU = 8


class Prepared(NamedTuple):
    """What the prepare child found out, together with what follows from it.

    Attributes:
        engine: what runs.
        model: identity of the engine.
        labels: class names.
        input_size: height, width of the largest input.
        outputs: layout of the output ring.
        max_delay_ns: longest a frame waits for company.
        fixed_batch: the only batch size that the model takes, or None.
        reference: path of the prepared graph, which is the model in FP32.
    """

    engine: ChosenEngine
    model: ModelRef
    labels: list[str]
    input_size: tuple[int, int]
    outputs: OutputPlan
    max_delay_ns: int
    fixed_batch: int | None
    reference: str = ""


def prepare_plan(setup: Setup) -> dict[str, Any]:
    """Plan of the prepare child."""
    engine = setup.settings.engine
    return _plain(
        PreparePlan(
            spec=str(setup.settings.model.spec),
            state_dir=str(setup.settings.daemon.state_dir),
            engine=engine_wish(setup),
            threads=engine.threads,
            parallel=parallel_runs(setup),
            measure=engine.max_batch is None,
        )
    )


def engine_wish(setup: Setup) -> EngineWish:
    """What the settings say of the engine."""
    engine = setup.settings.engine
    return EngineWish(
        backend=engine.backend, precision=engine.precision, device=engine.device, max_batch=engine.max_batch
    )


def prepared(setup: Setup, body: dict[str, Any]) -> Prepared:
    """Read the prepare child's report."""
    engine = setup.settings.engine
    model = body["model"]
    chosen = msgspec.convert(body["engine"], ChosenEngine)
    fallback = _DEFAULT_BATCH if chosen.backend == "onnxruntime" else _DEFAULT_BATCH_GPU
    max_batch = engine.max_batch or body["batch"] or fallback
    for limit in (model["fixed_batch"], chosen.max_batch):
        max_batch = min(max_batch, limit or max_batch)
    delay_ms = engine.max_delay_ms
    if delay_ms is None:
        delay_ms = 0.0 if max_batch == 1 else _DEFAULT_DELAY_MS
    tensors = msgspec.convert(model["outputs"], tuple[TensorSpec, ...])
    height, width = model["input_size"]
    return Prepared(
        engine=chosen,
        model=ModelRef(id=setup.spec.id, engine=chosen.key, backend=chosen.backend, precision=chosen.precision),
        labels=model["labels"],
        input_size=(height, width),
        outputs=OutputPlan(slots=engine.slots + 2, max_batch=max_batch, tensors=tensors),
        max_delay_ns=int(delay_ms * 1e6),
        fixed_batch=model["fixed_batch"],
        reference=model["path"],
    )


def parallel_runs(setup: Setup, cores: int | None = None) -> int:
    """How many batches ONNX Runtime runs at a time.

    A single live camera has one frame at a time, which is inferred quickest by all cores together. Where more frames
    wait at once, runs side by side give more of them a second.
    """
    if len(setup.sources) == 1 and setup.sources[0].live:
        return 1
    available = len(os.sched_getaffinity(0)) if cores is None else cores
    return max(1, min(setup.settings.engine.slots, available))


def summary(found: Prepared) -> tuple[str, str, int]:
    """Model, backend and largest batch, for the log."""
    return found.model.id, found.model.backend, found.outputs.max_batch


def engine_health(found: Prepared, io: str) -> EngineHealth:
    """The engine as health shows it."""
    return EngineHealth(**msgspec.to_builtins(found.model), io=io)


def make_rings(setup: Setup, found: Prepared) -> Rings:
    """Everything the processes share."""
    height, width = found.input_size
    return Rings(
        [source.live for source in setup.sources],
        slots=setup.settings.engine.slots,
        frame_bytes=height * width * 3,
        outputs=layout_of(found.outputs),
        verify=setup.settings.monitor.verify_every > 0,
    )


def brief(member: Member, setup: Setup, found: Prepared, rings: Rings, boot: str) -> None:
    """Send a child its plan and descriptors."""
    if member.source >= 0:
        _brief_capture(member, setup, rings)
        return
    if member.role == "verify":
        _brief_verify(member, setup, found, rings)
        return
    shared: tuple[int, ...] = (
        rings.outputs.region.fd,
        rings.wake_infer.fd,
        rings.wake_publish.fd,
        rings.board.region.fd,
    )
    infer = member.role == "infer"
    plan = _infer_plan(setup, found) if infer else _publish_plan(setup, found, boot)
    if rings.samples and not infer:
        shared = (*shared, rings.wake_verify.fd)
    member.tell("configure", plan, shared, wait_s=_SEND_S)
    for index, source in enumerate(setup.sources):
        frames = rings.frames[index].region.fd
        fds = (frames, rings.spaces[index].fd) if infer else (frames, *_sample(rings, index))
        member.tell("source", _source_plan(source), fds, wait_s=_SEND_S)


def _sample(rings: Rings, index: int) -> tuple[int, ...]:
    return (rings.samples[index].region.fd,) if rings.samples else ()


def _brief_verify(member: Member, setup: Setup, found: Prepared, rings: Rings) -> None:
    # What TensorRT needs to run the model, ONNX Runtime can do nothing with.
    libraries = found.engine.plugins if found.engine.backend == "onnxruntime" else ()
    plan = VerifyPlan(
        reference=found.reference,
        libraries=libraries,
        tensors=found.outputs.tensors,
        postprocess=_postprocess_plan(setup, found),
        fixed_batch=found.fixed_batch,
        row=rings.verify_row,
        sources=len(rings.samples),
    )
    member.tell("configure", _plain(plan), (rings.wake_verify.fd, rings.board.region.fd), wait_s=_SEND_S)
    for sample in rings.samples:
        member.tell("source", None, (sample.region.fd,), wait_s=_SEND_S)


def _brief_capture(member: Member, setup: Setup, rings: Rings) -> None:
    source = setup.sources[member.source]
    table = rings.frames[member.source]
    resumable = not source.live and not source.settings.loop
    plan = CapturePlan(
        uri=source.settings.uri.get_secret_value(),
        fps=source.settings.fps,
        repeat=source.settings.loop,
        decode=source.settings.decode,
        fit=_fit(setup),
        # A lossless source goes on where the process that died left off: nothing twice, nothing lost.
        skip=table.counts().captured if resumable else 0,
        row=FIRST_CAPTURE_ROW + member.source,
        profile=setup.settings.daemon.profile,
        verify_every=setup.settings.monitor.verify_every,
    )
    fds = (table.region.fd, rings.wake_infer.fd, rings.spaces[member.source].fd, rings.board.region.fd)
    member.tell("configure", _plain(plan), (*fds, *_sample(rings, member.source)), wait_s=_SEND_S)


def _fit(setup: Setup) -> dict[str, object]:
    spec = setup.spec.input
    # The form of `edged.stages.capture.fit.FitPlan`, which is not imported here because it needs OpenCV.
    return {
        "size": spec.size.model_dump(mode="json") if isinstance(spec.size, DynamicSize) else list(spec.size),
        "resize": spec.resize,
        "align": spec.align,
        "pad": spec.pad,
        "interpolation": spec.interpolation,
    }


def _source_plan(source: SourceSetup) -> dict[str, Any]:
    return _plain(
        SourcePlan(name=source.settings.name, max_age_ns=source.max_age_ns, priority=source.settings.priority)
    )


def _infer_plan(setup: Setup, found: Prepared) -> dict[str, Any]:
    engine = setup.settings.engine
    size = setup.spec.input.size
    warm_up = size.opt if isinstance(size, DynamicSize) else size
    return _plain(
        InferPlan(
            engine=found.engine,
            device=engine.device,
            io=engine.io,
            outputs=found.outputs,
            slots=engine.slots,
            threads=engine.threads,
            parallel=parallel_runs(setup),
            max_delay_ns=found.max_delay_ns,
            fixed_batch=found.fixed_batch,
            warm_up=list(warm_up),
            sources=len(setup.sources),
            contexts=engine.contexts,
            profile=setup.settings.daemon.profile,
        )
    )


def _publish_plan(setup: Setup, found: Prepared, boot: str) -> dict[str, Any]:
    publish, spec = setup.settings.publish, setup.spec
    curve = publish.curve
    return _plain(
        PublishPlan(
            bind=list(publish.bind),
            device=setup.settings.daemon.name,
            boot=boot,
            model=found.model,
            task=spec.task,
            outputs=found.outputs,
            postprocess=_postprocess_plan(setup, found),
            curve=None if curve is None else curve.model_dump(mode="json"),
            sources=len(setup.sources),
            profile=setup.settings.daemon.profile,
        )
    )


def _postprocess_plan(setup: Setup, found: Prepared) -> dict[str, object]:
    spec = setup.spec
    # The form of `edged.stages.postprocess.plan.PostprocessPlan`.
    return {
        "task": spec.task,
        "labels": found.labels,
        "score_threshold": spec.output.score_threshold,
        "iou_threshold": spec.output.iou_threshold,
        "max_detections": spec.output.max_detections,
        "resize": spec.input.resize,
        "align": spec.input.align,
        "nms": spec.decoder != "end2end",
    }


def _plain(plan: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(plan)
    return plain
