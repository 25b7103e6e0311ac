# SPDX-License-Identifier: Apache-2.0
"""The search of a build for a quantization plan: ranked on calibration images, judged on others."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from numpy.typing import NDArray

from edged.engine.bench import Bench, on_first
from edged.engine.calibration.image_set import CalibrationSet
from edged.engine.chain.calibrating import Subject, calibrated
from edged.engine.chain.plans import Plans, SwitchedPlans, WrittenPlans
from edged.engine.chain.work import Work
from edged.engine.evaluate.evaluator import Evaluator
from edged.engine.evaluate.result import Evaluation
from edged.engine.images import Image
from edged.engine.int8.calibrate import Calibration
from edged.engine.int8.journal import Journal
from edged.engine.int8.measured import OutOfBudgetError
from edged.engine.int8.point import Found, Limits, Point
from edged.engine.int8.ranges import METHODS, Method
from edged.engine.int8.rank import NodeError
from edged.engine.int8.repair import Search
from edged.engine.int8.verdict import Verdict, judge
from edged.engine.protocol import Note, Phase, Trust
from edged.engine.weighing import ROUNDING, SWITCHED, or_last, worthwhile
from edged.engine.workshop import Job
from edged.errors import AccuracyRefusedError, EngineError

RANKED_ON = 8
"""Calibration images on which plans are compared with the float model."""
CORRECTED_ON = 24
"""Calibration images by which means are corrected."""
_JUDGED = 4
"""Plans that are held against the images that judge, in an easy search."""
_NAMED = 5


@dataclass(frozen=True)
class Searched:
    """What came of a search.

    Attributes:
        calibration: what the ranges were taken from.
        key: its digest.
        images: how many.
        point: the plan to build; None where none holds.
        points: every plan evaluated, in order.
        ranking: error of each node quantized alone, where it was measured.
        method: how most thresholds are found.
        verdict: of a plan that was insisted on; None where it was searched for.
        lost: what the nearest plan loses, where none holds.
        complete: False where the time ran out.
    """

    calibration: Calibration
    key: str
    images: int
    point: Point | None
    points: tuple[Point, ...]
    ranking: tuple[NodeError, ...]
    method: str
    verdict: Verdict | None = None
    complete: bool = True
    lost: Evaluation | None = None

    @property
    def nearest(self) -> Point | None:
        """The plan that was insisted on, else the one with any INT8 work that lost least."""
        if self.verdict is not None:
            return self.verdict.forced
        return min((one for one in self.points if one.share > 0), key=lambda one: one.loss, default=None)


def methods_of(trust: Trust) -> tuple[Method, ...]:
    """Ways to find thresholds, by the setting ``build.calibrator``."""
    if trust.calibrator == "search":
        return METHODS
    return tuple(method for method in METHODS if method.startswith(trust.calibrator))


class Searcher:
    """Searches for the plan of one graph.

    Args:
        subject: the graph.
        images: to take ranges from.
        evaluator: judges plans.
        judged_by: digest of the images and labels that it judges by.
        work: where to write down what was measured.
        benches: where graphs can run, the best first.
    """

    def __init__(
        self,
        subject: Subject,
        images: CalibrationSet,
        evaluator: Evaluator,
        judged_by: str,
        work: Work,
        benches: Sequence[Bench],
    ) -> None:
        self._subject = subject
        self._images = images
        self._evaluator = evaluator
        self._judged_by = judged_by
        self._work = work
        self._benches = benches

    def run(self, *, fused: bool) -> Searched:
        """Calibrate and search.

        Args:
            fused: judge plans with ONNX Runtime's INT8 kernels instead of exact arithmetic on the rounded values: where
                ONNX Runtime is going to serve these are what has to hold, TensorRT's are nearer to exact arithmetic.

        Raises:
            EngineError: nothing can be quantized, or an image has changed.
            StateDirError: what was measured cannot be written down.
        """
        self._subject.check()
        trust, tell = self._subject.job.request.trust, self._subject.job.tell
        calibration, key = calibrated(self._subject, self._images, self._benches)
        tell(Phase("searching for layers and ranges" if trust.search else "quantizing as asked"))
        with contextlib.ExitStack() as stack:
            plans, about = self._plans(key, fused, stack)
            search = self._search(calibration, plans, about)
            if trust.search:
                return self._of(calibration, key, search.run(), plans)
            chosen = [one.key for one in calibration.view.candidates if one.key not in self._kept()]
            plan = calibration.plan(chosen, default=methods_of(trust)[0])
            verdict = judge(search, plan)
            found = verdict.found
            return Searched(
                calibration=calibration,
                key=key,
                images=len(self._images.images),
                point=verdict.forced if verdict.holds else None,
                points=(verdict.forced,) if found is None else found.points,
                ranking=() if found is None else found.ranking,
                method=methods_of(trust)[0],
                verdict=verdict,
                lost=None if verdict.holds else plans.evaluation(verdict.forced.plan),
            )

    @property
    def job(self) -> Job:
        """The build."""
        return self._subject.job

    def less(self, searched: Searched, *, fused: bool) -> Searched | None:
        """The plan that was found, without the nodes that cause half of its error; None where none is left.

        Args:
            searched: found a plan.
            fused: as for `run`.
        """
        assert searched.point is not None
        with contextlib.ExitStack() as stack:
            plans, about = self._plans(searched.key, fused, stack)
            search = self._search(searched.calibration, plans, about)
            try:
                point = search.less(searched.point.plan)
            except OutOfBudgetError:
                return None
        if point is None:
            return None
        return replace(searched, point=point, points=(*searched.points, point))

    def _plans(self, key: str, fused: bool, stack: contextlib.ExitStack) -> tuple[Plans, str]:
        """What runs plans, and the journal's key."""
        subject = self._subject
        ranked = list(subject.frames(self._spread(RANKED_ON)))
        corrected = list(subject.frames(self._spread(CORRECTED_ON)))

        def on(bench: Bench) -> tuple[Plans, str]:
            if bench.opens_slowly:
                # Where ONNX Runtime's kernels are to judge no such bench is among them.
                made: Plans = SwitchedPlans(subject, self._evaluator, bench, ranked, corrected)
            else:
                made = WrittenPlans(subject, self._evaluator, bench, ranked, corrected, fused=fused)
            stack.callback(bench.close)
            subject.job.tell(Note(f"plans are run by {bench.runtime}"))
            return made, self._about(key, bench, fused)

        begun = [bench for bench in self._benches if self._work.searched(self._about(key, bench, fused))]
        benches = or_last(begun[0], self._benches) if begun else self._best(ranked)
        return on_first(benches, subject.job.tell, on)

    def _best(self, ranked: Sequence[NDArray[Any]]) -> Sequence[Bench]:
        """What is worth opening: every node is ranked at least once, and some plans are judged."""
        subject = self._subject
        batches = (len(subject.view.candidates) + len(METHODS)) * len(ranked)
        batches += _JUDGED * len(self._evaluator.images) // (subject.job.prepared.fixed_batch or 1)
        return worthwhile(self._benches, subject.model, ranked[0], ROUNDING * batches, SWITCHED, subject.job.tell)

    def _about(self, key: str, bench: Bench, fused: bool) -> str:
        """All that what is measured depends on, as a digest."""
        how = f"{bench.runtime}\n{'fused' if fused else 'exact'}"
        told = [key, self._judged_by, str(self._subject.job.spec.output), how]
        return hashlib.sha256("\n".join(told).encode()).hexdigest()

    def _search(self, calibration: Calibration, plans: Plans, about: str) -> Search:
        subject, trust = self._subject, self._subject.job.request.trust
        return Search(
            calibration,
            plans.distance,
            lambda plan: plans.evaluation(plan).loss,
            # A plan that is insisted on is held against whatever would hold, by any method.
            Limits(bound=trust.bound, seconds=trust.search_s, methods=methods_of(trust) if trust.search else METHODS),
            journal=Journal(self._work.journal(about), about),
            correct=plans.correct,
            keep_float=self._kept(),
            tell=lambda text: subject.job.tell(Note(text)),
        )

    def _kept(self) -> frozenset[str]:
        """Layers that the user wants in float.

        Raises:
            EngineError: a pattern fits none.
        """
        globs = self._subject.job.request.trust.keep_float
        idle = [glob for glob in globs if not self._subject.view.matching([glob])]
        if idle:
            some = ", ".join(one.key for one in self._subject.view.candidates[:_NAMED])
            raise EngineError(
                f"no layer that can be quantized is named like {', '.join(idle)}; they are named {some} …",
                where="--keep-float",
                remedy="correct the pattern",
            )
        return frozenset(self._subject.view.matching(globs))

    def _spread(self, count: int) -> list[Image]:
        """Some calibration images, alike many of each folder, from all over it."""
        chosen: list[Image] = []
        folders = self._images.folders
        for place, name in enumerate(folders):
            images = self._images.of_folder(name)
            wanted = (count - len(chosen)) // (len(folders) - place) if count >= len(folders) else 1
            few = min(max(wanted, 1), len(images))
            chosen += [images[(2 * one + 1) * len(images) // (2 * few)] for one in range(few)]
        return chosen

    def _of(self, calibration: Calibration, key: str, found: Found, plans: Plans) -> Searched:
        if not found.complete:
            self._subject.job.tell(Note("the search's time is over: more may be possible with --search-minutes"))
        # Pools and additions alone are in INT8 for nothing.
        best = found.best if found.best is not None and found.best.share > 0 else None
        searched = Searched(
            calibration=calibration,
            key=key,
            images=len(self._images.images),
            point=best,
            points=found.points,
            ranking=found.ranking,
            method=found.method,
            complete=found.complete,
        )
        nearest = searched.nearest
        if best is not None or nearest is None:
            return searched
        return replace(searched, lost=plans.evaluation(nearest.plan))


def refusal(searched: Searched, bound: float, where: str) -> AccuracyRefusedError:
    """Why there is no plan: how much was lost, where, and what would hold."""
    if searched.verdict is not None:
        return searched.verdict.error(where)
    nearest = searched.nearest
    if nearest is None:
        return AccuracyRefusedError(
            "no INT8 plan was evaluated in the time there was", where=where, remedy="allow more: --search-minutes"
        )
    what = (
        f"INT8 loses {nearest.loss:.1f} points at the least ({nearest.share:.0%} of the multiply-adds in INT8), "
        f"{bound:g} {'is' if bound == 1 else 'are'} allowed"
    )
    worst = sorted(searched.ranking, key=lambda one: -one.error)[:_NAMED]
    total = sum(one.error for one in searched.ranking) or 1.0
    if worst:
        what += f"; most of the error comes from {', '.join(f'{one.key} ({one.error / total:.0%})' for one in worst)}"
    tried = "" if searched.complete else "search longer (--search-minutes), "
    return AccuracyRefusedError(
        what,
        where=where,
        remedy=f"{tried}calibrate with more images of what the camera sees, allow more (--bound), or use fp16 or fp32",
    )
