# SPDX-License-Identifier: Apache-2.0
"""What a build has found, as the report wants it."""

from __future__ import annotations

import math
import platform
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, cast

import msgspec

from edged.engine.chain.considered import Considered
from edged.engine.chain.material import Material
from edged.engine.chain.searching import Searched
from edged.engine.evaluate.evaluator import Evaluator
from edged.engine.evaluate.result import Evaluation, Figure
from edged.engine.images import Image
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.key import EngineKey, Precision
from edged.engine.manifest import Candidate as Noted
from edged.engine.report import data as told
from edged.engine.report.candidate import Accuracy, Candidate, Memory
from edged.engine.workshop import Job, Workshop

REPORTS = "reports"
"""Where the reports of refused builds lie in the state folder."""


def refused_report(state_dir: Path, model_id: str) -> Path:
    """Where the report of a refused build lies."""
    return state_dir / REPORTS / model_id / "refused.html"


def candidate(one: Considered, slots: int, *, chosen: bool) -> Candidate:
    """A candidate of the report."""
    found = one.evaluation
    accuracy = None
    if found is not None:
        accuracy = Accuracy(metric=found.metric, value=found.value, loss=found.loss, error=found.error)
    memory = None
    if one.made is not None and one.key is not None and one.key.backend == "tensorrt":
        kinds = one.made.memory
        io = None if kinds.io is None else slots * kinds.io
        memory = Memory(weights=kinds.weights, activations=max(kinds.activations, default=None), io=io)
    return Candidate(
        precision=one.precision,
        name=one.name,
        timings=one.timings,
        accuracy=accuracy,
        memory=memory,
        int8_share=one.share,
        chosen=chosen,
        refused_because=one.refused,
    )


def noted(one: Considered, *, chosen: bool) -> Noted:
    """A candidate of the manifest."""
    found = one.evaluation
    accuracy = {} if found is None else {found.metric: round(found.value, 4), "loss": round(found.loss, 4)}
    if found is not None and found.error is not None:
        accuracy["error"] = round(found.error, 4)
    latency = {str(timing.batch): round(timing.latency_ms.median, 6) for timing in one.timings}
    untimed = "the reference" if one.precision == "fp32" else "not raced"
    note = "chosen" if chosen else one.refused or ("not the fastest" if one.timings else untimed)
    key = "" if one.key is None or one.made is None else one.key.digest()
    return Noted(precision=one.precision, accuracy=accuracy, latency_ms=latency, note=f"{one.name}: {note}", key=key)


def device_of(workshop: Workshop, key: EngineKey) -> told.Device:
    """What it was built and raced on."""
    product, _, version = key.runtime.partition(" ")
    runtime = {"tensorrt": "TensorRT", "onnxruntime": "ONNX Runtime"}.get(product, product)
    name = key.gpu or f"{platform.machine()} CPU"
    driver = f"for CUDA {key.driver}" if key.driver else ""
    facts = {name: value for name, value in workshop.device.items() if name != "name"}
    return told.Device(name=name, backend=key.backend, runtime=f"{runtime} {version}", driver=driver, facts=facts)


def layers(searched: Searched, plan: QuantizationPlan | None, rest: Precision) -> tuple[told.Layer, ...]:
    """Every layer that could be quantized, and what became of it."""
    errors = {one.key: one.error for one in searched.ranking}
    view = searched.calibration.view
    inside = frozenset(() if plan is None else plan.nodes)
    return tuple(
        told.Layer(
            name=one.key,
            operator=one.operator,
            error=errors.get(one.key),
            share=one.macs / view.total_macs if view.total_macs else 0.0,
            precision="int8" if one.key in inside else rest,
            why="" if one.key in inside else one.default_float or ("moved back" if plan is not None else ""),
        )
        for one in view.candidates
    )


def folders(images: Sequence[Image]) -> tuple[told.Folder, ...]:
    """How many images of each folder."""
    names = dict.fromkeys(image.group for image in images)
    return tuple(told.Folder(name=name, images=sum(image.group == name for image in images)) for name in names)


def scores(found: Evaluation) -> told.Scores | None:
    """Scores of FP32 and of what was judged."""
    if found.histograms is None:
        return None
    shift = found.score_shift
    return told.Scores(
        reference=found.histograms.reference,
        value=found.histograms.value,
        shift=None if shift is None else shift.mean,
        p5=None if shift is None else shift.p5,
        p95=None if shift is None else shift.p95,
    )


def classes(found: Evaluation) -> tuple[told.ClassRow, ...]:
    """The metric of each class."""
    return tuple(
        told.ClassRow(name=name, reference=one.reference, value=one.value)
        for name, one in found.per_class.items()
        if math.isfinite(one.loss)
    )


def worst(evaluator: Evaluator, found: Evaluation) -> tuple[told.WorstFrame, ...]:
    """The frames on which it differs most from FP32, with pictures."""
    frames = []
    for one in found.worst:
        reference, value = evaluator.pictures(one)
        difference = f"{one.difference:g} {found.difference}".strip()
        frames.append(told.WorstFrame(name=one.name, difference=difference, reference=reference, value=value))
    return tuple(frames)


def search_parts(searched: Searched, plan: QuantizationPlan | None, rest: Precision) -> dict[str, object]:
    """What the search found: its curve, the layers, what is clipped."""
    curve = [
        told.CurvePoint(share=one.share, loss=one.loss, step=one.step, chosen=plan is not None and one.plan == plan)
        for one in searched.points
    ]
    clipped = [] if plan is None else searched.calibration.saturation(plan)
    return {
        "curve": tuple(curve),
        "layers": layers(searched, plan, rest),
        "saturation": tuple(
            told.Saturation(tensor=one.tensor, share=one.clipped, threshold=one.threshold, largest=one.largest)
            for one in clipped
        ),
    }


def evaluation_part(material: Material, found: Evaluation | None) -> told.Evaluation | None:
    """What accuracy was measured on."""
    if found is None or material.evaluation is None:
        return None
    seen = material.calibration
    return told.Evaluation(
        kind=found.kind,
        images=found.images,
        labels=found.labels,
        folders=folders(material.evaluation.images),
        overlap="" if seen is None else f"none of the {len(seen.images)} calibration images is among them",
        notes=(*material.notes, *found.notes),
    )


def calibration_part(material: Material, method: str) -> told.Calibration | None:
    """What the ranges were read from."""
    seen = material.calibration
    if seen is None or not method:
        return None
    return told.Calibration(folders=folders(seen.images), method=method, warnings=seen.warnings)


def report_data(
    job: Job, device: told.Device, versions: dict[str, str], batch: int, **parts: object
) -> told.ReportData:
    """The report's data.

    Args:
        job: the build.
        device: see `device_of`.
        versions: of everything that took part, by name.
        batch: frames in a batch as configured.
        parts: further fields.
    """
    return told.ReportData(
        model_id=job.spec.id,
        task=job.spec.task,
        frame=None if job.prepared.dynamic else job.prepared.input_size,
        asked=cast(Literal["auto", "int8", "fp16", "tf32", "fp32"], job.request.precision),
        bound=job.request.trust.bound,
        batch=batch,
        created_at=time.time(),
        device=device,
        versions=versions,
        **parts,  # type: ignore[arg-type]
    )


def slim(data: told.ReportData) -> told.ReportData:
    """The same without what a terminal cannot show."""
    return msgspec.structs.replace(data, worst=(), layers=(), saturation=(), classes=(), scores=None)


def storable(found: Evaluation | None) -> Evaluation | None:
    """An evaluation for the manifest: without pictures, and without figures that are no numbers."""
    if found is None:
        return None

    def finite(figures: dict[str, Figure]) -> dict[str, Figure]:
        return {name: one for name, one in figures.items() if math.isfinite(one.loss)}

    return msgspec.structs.replace(
        found.without_pictures(),
        figures=finite(found.figures),
        per_class=finite(found.per_class),
        per_folder=finite(found.per_folder),
    )
