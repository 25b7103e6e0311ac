# SPDX-License-Identifier: Apache-2.0
"""Where the INT8 candidate of a build comes from: a search, a recipe, or a graph that holds Q/DQ nodes already."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from edged.engine.bench import Bench
from edged.engine.chain.calibrating import Subject
from edged.engine.chain.considered import plan_digest, with_graph
from edged.engine.chain.material import Material
from edged.engine.chain.measuring import Judge
from edged.engine.chain.recipe import Recipe, read_recipe
from edged.engine.chain.searching import Searched, Searcher, refusal
from edged.engine.chain.work import Work, written
from edged.engine.evaluate.result import Evaluation
from edged.engine.int8.plan import QuantizationPlan
from edged.engine.int8.share import int8_share
from edged.engine.int8.write import write
from edged.engine.manifest import Int8
from edged.engine.protocol import Note
from edged.engine.workshop import Job
from edged.errors import AccuracyRefusedError, EngineError
from edged.graph.sizes import size_bounds


@dataclass(frozen=True)
class Int8Found:
    """What is to become the INT8 candidate.

    Attributes:
        plan: None where the graph holds Q/DQ nodes of its own, or no plan holds the bound.
        facts: for the manifest.
        searched: what a search found; None without one.
        recipe: where it comes from; None where it was found here.
        refusal: why there is no candidate; None where there is one.
        lost: what the best plan loses that was refused.
    """

    plan: QuantizationPlan | None
    facts: Int8
    searched: Searched | None = None
    recipe: Recipe | None = None
    refusal: AccuracyRefusedError | None = None
    lost: Evaluation | None = None

    @property
    def name(self) -> str:
        """Of the candidate."""
        return f"int8 ({self.facts.share:.0%})"


def found_in_graph(job: Job) -> Int8Found:
    """The Q/DQ nodes that a graph holds already."""
    layers = sum(node.op_type == "DequantizeLinear" for node in job.model.graph.node)
    share = int8_share(job.model, size_bounds(job.spec.input)[1])
    return Int8Found(None, Int8(share=share, layers=layers, method="Q/DQ nodes of the file"))


def found_in_recipe(job: Job, path: Path, judge: Judge | None) -> Int8Found:
    """What another build has found.

    Raises:
        EngineError: the recipe is missing, broken, or for another model.
    """
    subject = Subject(job)
    recipe = read_recipe(path, subject)
    if judge is None:
        job.tell(
            Note(
                f"unproven here: without --evaluate the recipe's word is taken for the accuracy ({recipe.evaluation}, "
                f"on {recipe.device})"
            )
        )
    facts = Int8(
        share=recipe.share,
        layers=len(recipe.plan.nodes),
        method=recipe.method,
        images=recipe.images,
        calibration=recipe.calibration,
        recipe=True,
    )
    return Int8Found(recipe.plan, facts, recipe=recipe)


def searcher_of(job: Job, material: Material, judge: Judge, work: Work, benches: Sequence[Bench]) -> Searcher | None:
    """What calibrates and searches; None where nothing can be quantized and INT8 was not insisted on.

    Raises:
        EngineError: nothing can be quantized, and INT8 was asked for.
    """
    assert material.calibration is not None
    subject = Subject(job)
    try:
        subject.check()
    except EngineError as error:
        if job.request.precision == "int8":
            raise
        job.tell(Note(f"INT8 is not considered: {error.what}"))
        return None
    return Searcher(subject, material.calibration, judge.evaluator, material.digest, work, benches)


def found_by_search(searcher: Searcher | None, *, fused: bool) -> Int8Found | None:
    """What calibration and the search find; None without a searcher.

    Raises:
        EngineError: an image has changed, or the model yields values that are not finite.
    """
    return None if searcher is None else _found(searcher, searcher.run(fused=fused))


def less_in_int8(searcher: Searcher | None, found: Int8Found, *, fused: bool) -> Int8Found | None:
    """What was found, with the layers that cause half of the error back in float; None where nothing is left then."""
    if searcher is None or found.searched is None:
        return None
    searched = searcher.less(found.searched, fused=fused)
    return None if searched is None else _found(searcher, searched)


def _found(searcher: Searcher, searched: Searched) -> Int8Found:
    job = searcher.job
    point = searched.point or searched.nearest
    facts = Int8(
        share=0.0 if point is None else point.share,
        layers=0 if point is None else len(point.plan.nodes),
        method=searched.method,
        images=searched.images,
        calibration=searched.key,
    )
    if searched.point is not None:
        return Int8Found(searched.point.plan, facts, searched)
    refused = refusal(searched, job.request.trust.bound, str(job.spec.onnx))
    return Int8Found(None, facts, searched, refusal=refused, lost=searched.lost)


def int8_job(job: Job, found: Int8Found) -> tuple[Job, str | None]:
    """The job that builds the candidate, and what its key says of calibration and plan.

    Raises:
        StateDirError: the quantized graph cannot be written.
    """
    if found.plan is None:
        return job, None
    subject = Subject(job)
    path = job.scratch / "int8.onnx"
    with written(job.scratch):
        path.write_bytes(write(subject.model, subject.view, found.plan).SerializeToString())
    return with_graph(job, path), plan_digest(found.facts.calibration, found.plan.to_json())
