# SPDX-License-Identifier: Apache-2.0
"""The chain: from images to an engine that is known to be good, or a refusal that says why."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Sequence
from pathlib import Path

import msgspec

from edged.engine.chain.agreeing import agreement_bound
from edged.engine.chain.considered import Considered, Maker
from edged.engine.chain.ending import Ending
from edged.engine.chain.finding import (
    Int8Found,
    found_by_search,
    found_in_graph,
    found_in_recipe,
    int8_job,
    less_in_int8,
    searcher_of,
)
from edged.engine.chain.material import Material, gather
from edged.engine.chain.measuring import Judge, judge_of
from edged.engine.chain.racing import Race, batch_weights, decisive, in_pipeline
from edged.engine.chain.searching import Searcher
from edged.engine.chain.work import Work
from edged.engine.key import Precision
from edged.engine.precision import choose_precision
from edged.engine.protocol import Done, Note, Phase
from edged.engine.report.write import FILE as REPORT_FILE
from edged.engine.shelf import Shelf
from edged.engine.store import AUTO, file_digest, read_current
from edged.engine.workshop import Job, Workshop
from edged.errors import AccuracyRefusedError, EngineError

_FURTHER = 2
"""Times that more is given back to float where INT8 loses more on the device than where it was searched for."""
FORMAT = 1
"""Raised whenever the same inputs would make another choice."""


class Chain:
    """One build that measures what it makes.

    Args:
        job: the build.
        shelf: the store.
        workshop: makes engines on this device.
        why: it is this backend; empty where it was asked for.
        start: of the build, monotonic seconds.
        race: times candidates; None for the daemon's own pipeline.
    """

    def __init__(
        self, job: Job, shelf: Shelf, workshop: Workshop, why: str, start: float, race: Race | None = None
    ) -> None:
        self._job = job
        self._shelf = shelf
        self._workshop = workshop
        self._why = [why] if why else []
        self._start = start
        self._race = race or in_pipeline
        self._work = Work(Path(job.request.state_dir), job.spec.id)
        self._maker = Maker(workshop, self._work)
        self._free = job.request.precision == AUTO

    def run(self) -> Done:
        """Measure, choose, and store.

        Raises:
            AccuracyRefusedError: nothing that was asked for holds the bound; nothing is stored.
            EngineError: images, labels or recipe do not fit, or nothing can be built.
            SourceError: a folder holds no images.
            StateDirError: the state folder cannot be written.
        """
        self._check()
        material = gather(self._job)
        asked = self._asked(material)
        there = self._standing(asked)
        if there is not None:
            return there
        with contextlib.ExitStack() as stack:
            fp32 = self._fp32()
            on_gpu = self._workshop.backend == "tensorrt"
            judge = judge_of(self._job, material, self._workshop, fp32 if on_gpu else None, stack)
            int8 = self._int8(material, judge)
            candidates = [*([fp32] if fp32 is not None else []), *self._others(int8, judge)]
            self._evaluate(candidates, judge)
            int8 = self._again(int8, candidates, material, judge)
        # Nothing is loaded any more: the race has the device for itself.
        key = self._maker.key(self._job, "fp32")
        batch = decisive(batch_weights(self._job, key))
        ending = Ending(self._job, material, judge, self._workshop, key, batch, int8, asked)
        held = [one for one in candidates if one.made is not None and not one.refused]
        if not held:
            error = ending.refuse(candidates, _refusal(self._job, candidates, int8))
            self._work.refused()
            raise error
        chosen = self._choose(candidates, held)
        done = ending.accept(candidates, chosen, self._why, self._shelf, self._start)
        self._work.done()
        return done

    def _check(self) -> None:
        """Refuse at once what cannot be had.

        Raises:
            EngineError: the precision asked for does not go with the backend, the graph, or the images.
        """
        request = self._job.request
        trust, asked = request.trust, request.precision
        makes_int8 = trust.calibrates or trust.recipe is not None
        if self._job.quantized and makes_int8:
            self._job.tell(Note("the graph holds Q/DQ nodes already: nothing is calibrated, only evaluated"))
        if not (asked == "int8" and makes_int8):
            choose_precision(asked, self._workshop.backend, quantized=self._job.quantized)
        if makes_int8 and asked not in (AUTO, "int8"):
            self._job.tell(Note(f"{asked} was asked for: nothing is calibrated"))
        if not makes_int8 and self._free and not self._job.quantized:
            self._job.tell(Note("INT8 was not considered: it needs images to take ranges from, --calibrate DIR"))

    def _asked(self, material: Material) -> str:
        """Digest of all that the choice is made from, but for the device."""
        request = self._job.request
        trust = request.trust
        recipe = "" if trust.recipe is None else _digest(Path(trust.recipe))
        rules = msgspec.structs.replace(trust, calibrate=(), source="", evaluate=(), labels=None, recipe=recipe)
        content = [FORMAT, self._job.prepared.digest, request.precision, rules, material.digest]
        return hashlib.sha256(msgspec.json.encode(content)).hexdigest()

    def _standing(self, asked: str) -> Done | None:
        """The engine that an earlier build has chosen from the very same things on this device."""
        request = self._job.request
        if request.force:
            return None
        try:
            names = read_current(self._shelf.folder).engines
        except EngineError:
            return None  # broken, and written anew at the end
        name = f"{self._workshop.backend}/{request.precision}"
        there = self._shelf.has(names[name]) if name in names else None
        if there is None or there.manifest.asked != asked:
            return None
        fields = there.manifest.fields
        if self._maker.key(self._job, fields.precision, fields.calibration).digest() != there.key:
            return None
        folder = there.path.parent
        current = tuple(one for one, key in names.items() if key == there.key)
        report = folder / REPORT_FILE
        return Done(
            self._job.spec.id, there.key, str(folder), False, current, report=str(report) if report.is_file() else ""
        )

    def _fp32(self) -> Considered | None:
        """The FP32 engine, where it takes part in the race."""
        if not self._free or self._job.quantized:
            return None
        return self._maker.make(self._job, "fp32", "fp32")

    def _int8(self, material: Material, judge: Judge | None) -> Int8Found | None:
        """What the INT8 candidate is made of; None where there is none."""
        trust = self._job.request.trust
        if self._job.quantized:
            return found_in_graph(self._job)
        if self._job.request.precision not in (AUTO, "int8"):
            return None
        if trust.recipe is not None:
            return found_in_recipe(self._job, Path(trust.recipe), judge)
        if material.calibration is None or judge is None:
            return None
        return found_by_search(self._searcher(material, judge), fused=self._fused)

    @property
    def _fused(self) -> bool:
        return self._workshop.backend == "onnxruntime"

    def _searcher(self, material: Material, judge: Judge) -> Searcher | None:
        return searcher_of(self._job, material, judge, self._work, self._workshop.benches(self._job))

    def _again(
        self, int8: Int8Found | None, candidates: list[Considered], material: Material, judge: Judge | None
    ) -> Int8Found | None:
        """Where INT8 held the bound in the search and its own engine does not, go on with what the engine loses.

        Each round gives the layers with half of the error back to float and builds anew, in the last candidate's place.
        """
        for _ in range(_FURTHER):
            one, trust = candidates[-1], self._job.request.trust
            refused = one.refused and one.evaluation is not None and one.made is not None
            if int8 is None or judge is None or not int8.searched or not int8.plan or not refused or not trust.search:
                break
            self._job.tell(
                Note(f"{one.name} held the bound in the search; its engine {one.refused}: with less in INT8")
            )
            found = less_in_int8(self._searcher(material, judge), int8, fused=self._fused)
            if found is None:
                break
            int8, candidates[-1] = found, self._made_int8(found)
            self._evaluate(candidates[-1:], judge)
        return int8

    def _others(self, int8: Int8Found | None, judge: Judge | None) -> list[Considered]:
        """All candidates but the FP32 engine of the race; a reference that is not built stands for it elsewhere."""
        found: list[Considered] = []
        if not self._free or self._job.quantized:
            reference = None if judge is None else judge.evaluator.reference()
            found.append(Considered("fp32", "fp32, the reference", evaluation=reference))
        if self._free and not self._job.quantized:
            wanted: list[Precision] = ["fp16"] if self._workshop.backend == "tensorrt" else []
        else:
            wanted = [one for one in ("fp32", "tf32", "fp16") if one == self._job.request.precision]
        found += [self._made(self._job, one, one, None) for one in wanted]
        return found if int8 is None else [*found, self._made_int8(int8)]

    def _made_int8(self, int8: Int8Found) -> Considered:
        if int8.refusal is not None:
            refused = Considered("int8", int8.name, evaluation=int8.lost, share=int8.facts.share)
            refused.judge(self._job.request.trust.bound)
            refused.refused = refused.refused or int8.refusal.what
            return refused
        job, calibration = int8_job(self._job, int8)
        one = self._made(job, "int8", int8.name, calibration)
        one.share = int8.facts.share
        if int8.recipe is not None:
            one.evaluation, one.agreement_bound = int8.recipe.evaluation, int8.recipe.agreement_bound
        return one

    def _made(self, job: Job, precision: Precision, name: str, calibration: str | None) -> Considered:
        try:
            return self._maker.make(job, precision, name, calibration)
        except EngineError as error:
            if not self._free:
                raise
            job.tell(Note(f"{name} cannot be built: {error.what}"))
            return Considered(precision, name, refused=f"it cannot be built: {error.what}")

    def _evaluate(self, candidates: Sequence[Considered], judge: Judge | None) -> None:
        """Hold every engine against FP32, each on this device."""
        bound = self._job.request.trust.bound
        for one in candidates:
            if one.job is None or one.key is None or one.made is None:
                continue
            if judge is not None and one.precision == "fp32":
                one.evaluation = judge.evaluator.reference()
            elif judge is not None:
                self._job.tell(Phase(f"evaluating {one.name}"))
                with self._workshop.open(one.job, one.key, one.made) as run:
                    one.evaluation = judge.evaluator.loss(run)
                    one.agreement_bound = agreement_bound(self._job, judge.evaluator.images, run, judge.reference)
                self._job.tell(Note(f"{one.name}: {one.evaluation}"))
            one.judge(bound)

    def _choose(self, candidates: Sequence[Considered], held: Sequence[Considered]) -> Considered:
        """The one to make current."""
        if len(held) == 1 or not self._free:
            return held[-1]
        racing = [one for one in candidates if one.made is not None]
        key = racing[0].key
        assert key is not None
        self._job.tell(Phase("racing"))
        outcome = self._race(self._workshop, racing, batch_weights(self._job, key))
        for one in racing:
            one.timings = outcome.timings.get(one.name, ())
            one.refused = one.refused or outcome.failed.get(one.name, "")
        for note in outcome.notes:
            self._job.tell(Note(note))
        self._why += [outcome.why] if outcome.why else []
        return next((one for one in held if one.name == outcome.winner), held[0])


def _refusal(job: Job, candidates: Sequence[Considered], int8: Int8Found | None) -> AccuracyRefusedError:
    """Why nothing is stored."""
    if int8 is not None and int8.refusal is not None:
        return int8.refusal
    refused = next(one for one in candidates if one.refused)
    remedy = "use fp16 or fp32, or allow more: --bound"
    if int8 is not None and int8.plan is None:
        remedy = f"quantize it again, or give the graph without Q/DQ nodes to edged: --calibrate DIR; or {remedy}"
    return AccuracyRefusedError(f"{refused.name} {refused.refused}", where=str(job.spec.onnx), remedy=remedy)


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:
        return ""  # reading it says what is wrong
