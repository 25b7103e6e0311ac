# SPDX-License-Identifier: Apache-2.0
"""What the supervisor derives from the settings and the prepared model: the rings' sizes and each child's plan."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from edged.model import DynamicSize
from edged.runtime.chosen import (
    Prepared,
    engine_health,
    engine_wish,
    next_engine,
    parallel_runs,
    prepare_plan,
    prepared,
    summary,
)
from edged.runtime.layout import layout_of
from edged.runtime.members import Member
from edged.runtime.plans import CapturePlan, InferPlan, PublishPlan, SourcePlan, VerifyPlan, plain
from edged.runtime.rings import Rings
from edged.runtime.setup import Setup, SourceSetup
from edged.runtime.sources import deadlines

__all__ = [
    "Prepared",
    "brief",
    "engine_health",
    "engine_wish",
    "make_rings",
    "next_engine",
    "parallel_runs",
    "postprocess_plan",
    "prepare_plan",
    "prepared",
    "source_plan",
    "summary",
    "tell_source",
]

_SEND_S = 5.0


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


def brief(
    member: Member,
    setup: Setup,
    found: Prepared,
    rings: Rings,
    boot: str,
    *,
    without: Collection[int] = (),
    candidate: bool = False,
) -> None:
    """Send a child its plan and descriptors.

    Args:
        member: the child.
        setup: of the daemon.
        found: the engine that runs, or is to run.
        rings: of the daemon.
        boot: of this start of the daemon.
        without: seats of sources that it is not to know any more.
        candidate: whether it is to load its engine and wait.
    """
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
    places = [index for index, seat in enumerate(rings.seats) if seat not in without]
    plan = _infer_plan(setup, found, candidate) if infer else _publish_plan(setup, found, boot)
    plan["sources"] = len(places)
    if rings.samples and not infer:
        shared = (*shared, rings.wake_verify.fd)
    member.tell("configure", plan, shared, wait_s=_SEND_S)
    for index in places:
        tell_source(member, setup, rings, index)


def tell_source(member: Member, setup: Setup, rings: Rings, index: int) -> None:
    """Tell infer or publish of a source, with its descriptors."""
    frames = rings.frames[index].region.fd
    fds = (frames, rings.spaces[index].fd) if member.role == "infer" else (frames, *_sample(rings, index))
    member.tell("source", source_plan(setup.sources[index], rings.seats[index]), fds, wait_s=_SEND_S)


def _sample(rings: Rings, index: int) -> tuple[int, ...]:
    return (rings.samples[index].region.fd,) if rings.samples else ()


def _brief_verify(member: Member, setup: Setup, found: Prepared, rings: Rings) -> None:
    # What TensorRT needs to run the model, ONNX Runtime can do nothing with.
    libraries = found.engine.plugins if found.engine.backend == "onnxruntime" else ()
    plan = VerifyPlan(
        reference=found.reference,
        libraries=libraries,
        tensors=found.outputs.tensors,
        postprocess=postprocess_plan(setup, found),
        fixed_batch=found.fixed_batch,
        row=rings.verify_row,
        sources=len(rings.samples),
    )
    member.tell("configure", plain(plan), (rings.wake_verify.fd, rings.board.region.fd), wait_s=_SEND_S)
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
        skip=table.counts().captured - rings.origins[member.source] if resumable else 0,
        row=rings.capture_row(member.source),
        profile=setup.settings.daemon.profile,
        verify_every=setup.settings.monitor.verify_every,
        view=source.settings.model_dump(include={"rotate", "crop", "mask"}),
        read_s=deadlines(source).first,
    )
    fds = (table.region.fd, rings.wake_infer.fd, rings.spaces[member.source].fd, rings.board.region.fd)
    member.tell("configure", plain(plan), (*fds, *_sample(rings, member.source)), wait_s=_SEND_S)


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


def source_plan(source: SourceSetup, seat: int) -> dict[str, Any]:
    """What infer and publish are told of a source."""
    settings = source.settings
    return plain(SourcePlan(name=settings.name, max_age_ns=source.max_age_ns, priority=settings.priority, seat=seat))


def _infer_plan(setup: Setup, found: Prepared, candidate: bool) -> dict[str, Any]:
    engine = setup.settings.engine
    size = setup.spec.input.size
    warm_up = size.opt if isinstance(size, DynamicSize) else size
    return plain(
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
            max_batch=found.max_batch,
            generation=found.generation,
            candidate=candidate,
        )
    )


def _publish_plan(setup: Setup, found: Prepared, boot: str) -> dict[str, Any]:
    publish, spec = setup.settings.publish, setup.spec
    curve = publish.curve
    return plain(
        PublishPlan(
            bind=list(publish.bind),
            device=setup.settings.daemon.name,
            boot=boot,
            model=found.model,
            task=spec.task,
            outputs=found.outputs,
            postprocess=postprocess_plan(setup, found),
            generation=found.generation,
            curve=None if curve is None else curve.model_dump(mode="json"),
            sources=len(setup.sources),
            profile=setup.settings.daemon.profile,
        )
    )


def postprocess_plan(setup: Setup, found: Prepared) -> dict[str, object]:
    """How outputs are read."""
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
