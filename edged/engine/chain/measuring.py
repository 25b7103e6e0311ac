# SPDX-License-Identifier: Apache-2.0
"""What judges the candidates of a build: an evaluator, and the FP32 form that it holds them against."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from edged.engine.chain import counted
from edged.engine.chain.considered import Considered
from edged.engine.chain.float_form import float_form
from edged.engine.chain.material import Material
from edged.engine.chain.work import written
from edged.engine.evaluate.evaluator import Evaluator
from edged.engine.ort_workshop import session_run
from edged.engine.protocol import Note, Phase
from edged.engine.workshop import Job, Run, Workshop
from edged.errors import EngineError


@dataclass(frozen=True)
class Judge:
    """Judges candidates.

    Attributes:
        evaluator: knows what FP32 finds.
        reference: the FP32 form.
    """

    evaluator: Evaluator
    reference: Run


def judge_of(
    job: Job, material: Material, workshop: Workshop, fp32: Considered | None, stack: contextlib.ExitStack
) -> Judge | None:
    """What judges a build; None where there is nothing to judge by.

    Args:
        job: the build.
        material: its images.
        workshop: runs engines.
        fp32: the FP32 engine, if it was built for a GPU: faster than ONNX Runtime, and as exact.
        stack: closes the reference.

    Raises:
        EngineError: nobody can run the FP32 form, or an image has changed.
    """
    if material.evaluation is None:
        return None
    job.tell(Phase("evaluating the FP32 form"))
    reference = stack.enter_context(_reference(job, workshop, fp32))
    tell = counted.images(job.tell, "evaluation")
    evaluator = Evaluator(job.spec, job.prepared, material.evaluation, reference, labels=material.labels, tell=tell)
    for note in evaluator.notes:
        job.tell(Note(note))
    return Judge(evaluator, reference)


def _reference(job: Job, workshop: Workshop, fp32: Considered | None) -> contextlib.AbstractContextManager[Run]:
    if fp32 is not None and fp32.job is not None and fp32.key is not None and fp32.made is not None:
        return workshop.open(fp32.job, fp32.key, fp32.made)
    if job.prepared.unknown:
        raise EngineError(
            f"ONNX Runtime, which computes the FP32 form, lacks operators of the model: "
            f"{', '.join(job.prepared.unknown)}",
            where=str(job.spec.onnx),
            remedy="build without --evaluate, or with --precision auto",
        )
    path = Path(job.prepared.path)
    if job.quantized:
        path = job.scratch / "float.onnx"
        with written(job.scratch):
            path.write_bytes(float_form(job.model).SerializeToString())
    return contextlib.nullcontext(session_run(path, job.request.plugins))
