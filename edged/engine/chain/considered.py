# SPDX-License-Identifier: Apache-2.0
"""The engines that a build considers, and how each is made."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from edged.engine.chain.work import Work
from edged.engine.evaluate.result import Evaluation
from edged.engine.key import EngineKey, Precision
from edged.engine.protocol import Note
from edged.engine.report.candidate import Timing
from edged.engine.workshop import Job, Made, Workshop


@dataclass
class Considered:
    """An engine that is considered.

    Attributes:
        precision: its precision.
        name: tells it from others.
        job: what it is built for, with its own graph; None where it is not built.
        key: what goes into it; None likewise.
        made: the engine; None likewise.
        evaluation: how good it is; None where it was not evaluated.
        timings: what the race measured.
        share: part of the multiply-adds in INT8, 0 to 1; None where it is none of INT8.
        refused: why it cannot be taken, a clause; empty where it can.
        agreement_bound: see `edged.engine.manifest.Manifest`.
    """

    precision: Precision
    name: str
    job: Job | None = None
    key: EngineKey | None = None
    made: Made | None = None
    evaluation: Evaluation | None = None
    timings: tuple[Timing, ...] = ()
    share: float | None = None
    refused: str = ""
    agreement_bound: float | None = None

    def judge(self, bound: float) -> None:
        """Refuse it if it loses more than so many points."""
        if self.evaluation is not None and self.evaluation.loss > bound:
            self.refused = f"loses {self.evaluation.loss:.1f} points of {self.evaluation.metric}, {bound:g} allowed"

    def timing(self, batch: int) -> Timing | None:
        """What the race measured at a batch size."""
        return next((one for one in self.timings if one.batch == batch), None)


def with_graph(job: Job, path: Path) -> Job:
    """The job with another graph of the same inputs and outputs."""
    return dataclasses.replace(job, prepared=msgspec.structs.replace(job.prepared, path=str(path)))


def plan_digest(calibration: str, plan: bytes) -> str:
    """What an INT8 engine's key says of its calibration and its plan."""
    return hashlib.sha256(calibration.encode() + plan).hexdigest()


class Maker:
    """Makes candidates, or takes what a killed build has made.

    Args:
        workshop: makes engines.
        work: keeps them until they are stored.
    """

    def __init__(self, workshop: Workshop, work: Work) -> None:
        self._workshop = workshop
        self._work = work

    def key(self, job: Job, precision: Precision, calibration: str | None = None) -> EngineKey:
        """What goes into an engine."""
        return msgspec.structs.replace(self._workshop.key(job, precision), calibration=calibration)

    def make(self, job: Job, precision: Precision, name: str, calibration: str | None = None) -> Considered:
        """Build a candidate.

        Raises:
            EngineError: it cannot be built.
        """
        key = self.key(job, precision, calibration)
        made = self._work.engine(key)
        if made is None:
            made = self._workshop.make(job, key)
            note = self._work.keep(key, made)
            if note:
                job.tell(Note(note))
        else:
            job.tell(Note(f"{name}: built by the build that was ended"))
        return Considered(precision, name, job, key, made)
