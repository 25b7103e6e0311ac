# SPDX-License-Identifier: Apache-2.0
"""How a build ends: a report, and engines in the store or a refusal."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edged import __version__
from edged.engine.chain import reporting
from edged.engine.chain.considered import Considered
from edged.engine.chain.finding import Int8Found
from edged.engine.chain.material import Material
from edged.engine.chain.measuring import Judge
from edged.engine.chain.recipe import Recipe, encode
from edged.engine.chain.storing import Stored, store
from edged.engine.describe import versions
from edged.engine.evaluate.result import Evaluation
from edged.engine.key import EngineKey, Precision
from edged.engine.protocol import Done, Note, Phase, Verdict
from edged.engine.report.data import ReportData
from edged.engine.report.page import page
from edged.engine.report.sentence import sentence
from edged.engine.report.write import FILE as REPORT_FILE
from edged.engine.report.write import write_report
from edged.engine.shelf import Shelf
from edged.engine.store import RECIPE_FILE
from edged.engine.workshop import Job, Workshop
from edged.errors import AccuracyRefusedError, StateDirError
from edged.files import make_folder


class Ending:
    """What a build has found, and what becomes of it.

    Args:
        job: the build.
        material: its images.
        judge: what judged the candidates; None where nothing did.
        workshop: made them.
        key: of any engine of this build: what it runs on.
        batch: frames in a batch as configured.
        int8: the INT8 candidate; None without one.
        asked: digest of all that the choice was made from.
    """

    def __init__(
        self,
        job: Job,
        material: Material,
        judge: Judge | None,
        workshop: Workshop,
        key: EngineKey,
        batch: int,
        int8: Int8Found | None,
        asked: str,
    ) -> None:
        self._job = job
        self._material = material
        self._judge = judge
        self._workshop = workshop
        self._key = key
        self._batch = batch
        self._int8 = int8
        self._asked = asked

    def refuse(self, candidates: Sequence[Considered], error: AccuracyRefusedError) -> AccuracyRefusedError:
        """Write the report of a build that is refused; gives the error back."""
        self._job.tell(Phase("writing the report"))
        lost = [one.evaluation for one in candidates if one.refused and one.evaluation is not None]
        data = self._data(candidates, None, lost[0] if lost else None, would_hold=error.remedy)
        path = reporting.refused_report(Path(self._job.request.state_dir), self._job.spec.id)
        try:
            make_folder(path.parent)
            write_report(data, path)
        except (OSError, StateDirError) as failure:
            self._job.tell(Note(f"the report cannot be written: {failure}"))
            self._job.tell(Verdict(reporting.slim(data), ""))
            return error
        self._job.tell(Verdict(reporting.slim(data), str(path)))
        return error

    def accept(
        self, candidates: Sequence[Considered], chosen: Considered, why: Sequence[str], shelf: Shelf, start: float
    ) -> Done:
        """Store what holds the bound, and make one of it current.

        Args:
            candidates: all that was considered.
            chosen: the one to make current.
            why: reasons beside what the figures say, a sentence each.
            shelf: the store.
            start: of the build, monotonic seconds.

        Raises:
            StateDirError: the store cannot be written; what was current still is.
        """
        self._job.tell(Phase("writing the report"))
        data = self._data(candidates, chosen, chosen.evaluation, why=tuple(why))
        verdict = sentence(data)
        reasons = (*why, verdict)
        held = [one for one in candidates if one.made is not None and not one.refused and one is not chosen]
        engines = [
            self._stored(chosen, candidates, chosen, reasons, {REPORT_FILE: page(data).encode()}),
            *(self._stored(one, candidates, chosen, (f"considered beside {chosen.name}", verdict), {}) for one in held),
        ]
        done = store(self._job, shelf, self._workshop, engines, start, REPORT_FILE)
        self._job.tell(Verdict(reporting.slim(data), done.report))
        return done

    def _stored(
        self,
        one: Considered,
        candidates: Sequence[Considered],
        chosen: Considered,
        why: tuple[str, ...],
        beside: dict[str, bytes],
    ) -> Stored:
        measured: dict[str, Any] = {
            "candidates": tuple(reporting.noted(each, chosen=each is chosen) for each in candidates),
            "agreement_bound": one.agreement_bound,
            "evaluation": reporting.storable(one.evaluation),
            "asked": self._asked,
        }
        if one.precision == "int8" and self._int8 is not None:
            measured["int8"] = self._int8.facts
            recipe = self._recipe(one, self._int8, chosen, why)
            if recipe is not None:
                beside = {**beside, RECIPE_FILE: encode(recipe)}
        return Stored(one, why, measured, beside)

    def _recipe(self, one: Considered, int8: Int8Found, chosen: Considered, why: tuple[str, ...]) -> Recipe | None:
        evaluation = reporting.storable(one.evaluation)
        if int8.plan is None or evaluation is None:
            return None
        facts = int8.facts
        before = int8.recipe if self._judge is None else None
        return Recipe(
            model_id=self._job.spec.id,
            model=self._job.prepared.digest,
            plan=int8.plan,
            share=facts.share,
            method=facts.method,
            images=facts.images,
            calibration=facts.calibration,
            judged_by=self._material.digest if before is None else before.judged_by,
            evaluation=evaluation,
            bound=self._job.request.trust.bound,
            agreement_bound=one.agreement_bound,
            chosen=chosen.precision,
            why=why,
            device=self._device() if before is None else before.device,
            edged=__version__,
        )

    def _device(self) -> str:
        return self._key.gpu or platform.machine()

    def _data(
        self, candidates: Sequence[Considered], chosen: Considered | None, judged: Evaluation | None, **parts: Any
    ) -> ReportData:
        """The report: of what was chosen, or of what was refused."""
        int8, slots = self._int8, self._job.request.slots
        parts["candidates"] = tuple(reporting.candidate(one, slots, chosen=one is chosen) for one in candidates)
        if int8 is not None and int8.searched is not None:
            rest: Precision = "fp16" if self._key.backend == "tensorrt" else "fp32"
            parts |= reporting.search_parts(int8.searched, int8.plan, rest)
        parts["calibration"] = reporting.calibration_part(self._material, "" if int8 is None else int8.facts.method)
        parts["evaluation"] = reporting.evaluation_part(self._material, judged)
        if int8 is not None and int8.recipe is not None:
            parts["recipe"] = str(self._job.request.trust.recipe)
        if judged is not None:
            parts["scores"] = reporting.scores(judged)
            parts["classes"] = reporting.classes(judged)
            if self._judge is not None:
                parts["worst"] = reporting.worst(self._judge.evaluator, judged)
        device = reporting.device_of(self._workshop, self._key)
        return reporting.report_data(self._job, device, versions(self._key), self._batch, **parts)
