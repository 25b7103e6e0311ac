# SPDX-License-Identifier: Apache-2.0
"""How far an engine agrees with FP32 by the measure of `monitor.verify`, so that production can be held against it."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from edged.engine.images import FrameBatches, Image
from edged.engine.padding import filled
from edged.engine.workshop import Job, Run
from edged.geometry import Region, Size, place
from edged.records import FrameRecord
from edged.stages.postprocess.mask import covered_cells
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor
from edged.stages.verify.compare import Comparer
from edged.stages.verify.window import FEWEST

FRAMES = 128
"""Images that are compared, at the most."""
_DEVIATIONS = 3.0
_LEAST_ROOM = 1.0
"""Points below what was seen here: production shows other scenes."""
_BACK = 20.0
"""An alarm ends a fifth of the way from the bound to 100; that must still lie below what was seen here."""


def agreement_bound(job: Job, images: Sequence[Image], run: Run, reference: Run) -> float | None:
    """Points of agreement below which the mean of some frames is not to fall; None where no frame says anything.

    Args:
        job: whose graph it is.
        images: of the evaluation.
        run: the engine.
        reference: the FP32 form.
    """
    return bound_of(agreements(job, images, run, reference))


def agreements(job: Job, images: Sequence[Image], run: Run, reference: Run) -> list[float]:
    """Agreement of each image with FP32, points; images in which neither finds anything are left out."""
    step = max(1, -(-len(images) // FRAMES))
    fixed = job.prepared.fixed_batch or 1
    batches = FrameBatches(images[::step], job.spec.input, fixed)
    comparer = _comparer(job)
    found = []
    for index in range(len(batches)):
        frames = filled(batches[index], fixed)
        ours, wanted = run(frames), reference(frames)
        for at, record in enumerate(batches.records(index)):
            pair = [{name: values[at : at + 1] for name, values in outputs.items()} for outputs in (ours, wanted)]
            one = comparer.compare(pair[0], pair[1], record)
            if not one.empty:
                found.append(one.points)
    return found


def bound_of(points: Sequence[float]) -> float | None:
    """A bound that a mean of `FEWEST` frames like these hardly ever falls below."""
    if not points:
        return None
    mean = statistics.fmean(points)
    spread = statistics.stdev(points) if len(points) > 1 else 0.0
    room = max(_LEAST_ROOM, _DEVIATIONS * spread / math.sqrt(FEWEST))
    bound = min(mean - room, (mean - _BACK) / (1 - _BACK / 100))
    return max(0.0, math.floor(10 * bound) / 10)


def _comparer(job: Job) -> Comparer:
    spec = job.spec
    plan = PostprocessPlan(
        task=spec.task,
        score_threshold=spec.output.score_threshold,
        iou_threshold=spec.output.iou_threshold,
        max_detections=spec.output.max_detections,
        resize=spec.input.resize,
        align=spec.input.align,
        nms=spec.decoder != "end2end",
    )

    def covered(grid: Size, frame: FrameRecord) -> Region:
        sizes = (frame.height, frame.width), (frame.input_height, frame.input_width)
        return covered_cells(grid, place(plan.resize, plan.align, *sizes))

    return Comparer(plan.task, Postprocessor(plan).run, covered)
