# SPDX-License-Identifier: Apache-2.0
"""The race of a build's candidates: over which batch sizes, and who takes part."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from edged.engine.chain.considered import Considered
from edged.engine.chain.counted import counting
from edged.engine.key import EngineKey
from edged.engine.race.entrant import Course, Entrant, Limits, realistic_batches
from edged.engine.race.race import race
from edged.engine.report.candidate import Timing
from edged.engine.workshop import Job, Workshop


class Outcome(NamedTuple):
    """What a race found.

    Attributes:
        winner: name of the candidate to use; None where none may win.
        why: a sentence; empty where there is nothing to say.
        timings: by name.
        failed: why a candidate could not be raced, by name.
        notes: what the user should know, a sentence each.
    """

    winner: str | None
    why: str
    timings: Mapping[str, tuple[Timing, ...]]
    failed: Mapping[str, str] = {}
    notes: tuple[str, ...] = ()


Weights = Mapping[int, float]
"""Batch sizes to race at, each with its weight in the decision."""
Race = Callable[[Workshop, Sequence[Considered], Weights], Outcome]
"""Races candidates that were made; the most exact come first."""


def batch_weights(job: Job, key: EngineKey) -> dict[int, float]:
    """Batch sizes to race at: those that the configured sources make, one frame, and the largest.

    Args:
        job: the build.
        key: of any of its engines.
    """
    fixed = job.prepared.fixed_batch
    if fixed is not None:
        return {fixed: 1.0}
    live, lossless = job.request.sources or (0, 0)
    most = _largest(job, key)
    smallest = min((profile.batch[0] for profile in key.profiles), default=1)
    weights: dict[int, float] = {}
    for size, weight in realistic_batches(live, lossless, most).items():
        # An engine may take no batch of one: smaller ones are filled up.
        size = max(size, smallest)
        weights[size] = max(weights.get(size, 0.0), weight)
    return weights


def decisive(weights: Weights) -> int:
    """The batch size that tables show: the largest that decides."""
    return max(size for size, weight in weights.items() if weight > 0)


def _largest(job: Job, key: EngineKey) -> int:
    asked = job.request.max_batch
    if not key.profiles:
        # What ONNX Runtime does with several is found at a daemon's start; mostly one frame at a time is fastest.
        return asked if isinstance(asked, int) else 1
    largest = max(profile.batch[2] for profile in key.profiles)
    return min(asked, largest) if isinstance(asked, int) else max(profile.batch[1] for profile in key.profiles)


def in_pipeline(
    workshop: Workshop, candidates: Sequence[Considered], weights: Weights, limits: Limits | None = None
) -> Outcome:
    """Race in the daemon's own pipeline, see `edged.engine.race`."""
    entrants = [entrant for one in candidates if (entrant := _entrant(workshop, one)) is not None]
    job = next(one.job for one in candidates if one.job is not None)
    course = Course(
        outputs=job.prepared.outputs,
        frame=job.prepared.input_size,
        batches=weights,
        slots=job.request.slots,
        fixed_batch=job.prepared.fixed_batch,
    )
    with counting(job.tell, "turns") as count:
        found = race(entrants, course, limits, progress=count.at)
    entries = {one.name: one for one in found.entries}
    return Outcome(
        winner=found.winner,
        why=found.why,
        timings={name: one.candidate().timings for name, one in entries.items()},
        failed={name: one.failed for name, one in entries.items() if one.failed},
        notes=found.notes,
    )


def _entrant(workshop: Workshop, one: Considered) -> Entrant | None:
    if one.job is None or one.key is None or one.made is None:
        return None
    return Entrant(
        name=one.name,
        precision=one.precision,
        backend=workshop.backend,
        open=workshop.stand(one.job, one.key, one.made),
        loss=None if one.evaluation is None else one.evaluation.loss,
        error=None if one.evaluation is None else one.evaluation.error,
        refused_because=one.refused,
    )
