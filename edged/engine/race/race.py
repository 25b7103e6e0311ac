# SPDX-License-Identifier: Apache-2.0
"""Racing candidates on the device."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

import msgspec

from edged.engine.race.decide import Decision, decide, rule
from edged.engine.race.entrant import Course, Entrant, Facts, Limits
from edged.engine.race.lineup import Key, LineUp, Progress, Ran, Turns
from edged.engine.race.pace import Deadline
from edged.engine.race.result import Conditions, Ended, RaceEntry, RaceResult, RaceTiming
from edged.engine.report.candidate import Precision
from edged.errors import InternalError
from edged.rig.figures import Spread, ratios, spread
from edged.rig.rounds import Turn

Look = Callable[[], Conditions | None]
"""Tells clocks and temperatures of the device now."""


def race(
    entrants: Sequence[Entrant],
    course: Course,
    limits: Limits | None = None,
    *,
    cancelled: Callable[[], bool] = lambda: False,
    progress: Progress = lambda done, planned: None,  # noqa: ARG005 - nobody listens
    look: Look = lambda: None,
    clock: Callable[[], float] = time.monotonic,
) -> RaceResult:
    """Time all entrants in alternating rounds, and choose the fastest that may win.

    Every entrant has a turn at every batch size in each round, and the order is reversed from round to round, so that
    heat, clocks and neighbours hit all alike; only ratios within a round count. Those that are refused are timed as
    well, so that the report can show what their accuracy would have bought.

    Args:
        entrants: with names of their own.
        course: the pipeline, and the batch sizes with their weights.
        limits: time and rounds.
        cancelled: asked after every batch; a race that is cancelled has no winner.
        progress: hears of every turn.
        look: asked before the first round and after the last.
        clock: for the limits.

    Raises:
        InternalError: names occur twice, or sizes or weights make no sense.
        GpuMemoryError: not all fit into the GPU's memory, and ``limits.together`` insists.
        GpuLostError: the GPU is gone.
    """
    limits = limits or Limits()
    _check(entrants, course)
    deadline = Deadline(limits.seconds, cancelled, clock)
    line_up = LineUp(entrants, course, limits, deadline, progress)
    begin = look()
    ran = line_up.run()
    end = look()
    found = _result(entrants, course, limits, line_up, ran, cancelled=cancelled())
    return msgspec.structs.replace(found, begin=begin, end=end, seconds=deadline.spent_s)


def _result(
    entrants: Sequence[Entrant], course: Course, limits: Limits, line_up: LineUp, ran: Ran, *, cancelled: bool
) -> RaceResult:
    """All but when it was, and how warm."""
    rounds = min((len(own) for own in ran.turns.values()), default=0)
    ended: Ended = "all rounds" if rounds >= ran.pace.rounds > 0 else "out of time"
    if cancelled:
        ended = "cancelled"
    timings = _timings(entrants, course, ran.turns)
    decision = _decide(entrants, course, timings, ended, rounds, line_up.failed)
    return RaceResult(
        winner=decision.winner,
        why=decision.why,
        ties=decision.ties,
        rule=rule(course.batches),
        entries=tuple(_entry(one, line_up, timings, decision) for one in entrants),
        weights=dict(sorted(course.batches.items())),
        slots=course.slots,
        rounds=rounds,
        turn_s=ran.pace.turn_s,
        warm_up_s=ran.pace.warm_up_s,
        seconds=0.0,
        together=ran.together,
        ended=ended,
        notes=_notes(ran, rounds, limits),
    )


def _check(entrants: Sequence[Entrant], course: Course) -> None:
    weights = course.batches
    problem = ""
    if len({one.name for one in entrants}) < len(entrants):
        problem = "two entrants have the same name"
    elif not weights or min(weights) < 1 or min(weights.values()) < 0 or not sum(weights.values()) > 0:
        problem = f"batch sizes and weights {dict(weights)} cannot decide anything"
    elif not all(map(math.isfinite, weights.values())):
        problem = f"weights {dict(weights)} are not finite"
    if problem:
        raise InternalError(problem, where="race", remedy="report this")


def _timings(entrants: Sequence[Entrant], course: Course, turns: Turns) -> dict[str, tuple[RaceTiming, ...]]:
    """By name, of those with complete rounds at all sizes."""
    timed = [one for one in entrants if all(Key(one.name, size) in turns for size in course.batches)]
    rates = {key: spread([key.batch * turn.batches / turn.seconds for turn in own]) for key, own in turns.items()}
    first = {one.precision: one.name for one in reversed(timed)}

    def against(precision: Precision, key: Key) -> Spread | None:
        name = first.get(precision)
        return None if name is None else ratios(rates[key], rates[Key(name, key.batch)])

    return {
        one.name: tuple(
            _timing(turns[key], rates[key], key, against)
            for key in (Key(one.name, size) for size in sorted(course.batches))
        )
        for one in timed
    }


def _timing(
    turns: Sequence[Turn], rate: Spread, key: Key, against: Callable[[Precision, Key], Spread | None]
) -> RaceTiming:
    return RaceTiming(
        batch=key.batch,
        frames_per_s=rate,
        ms=spread([1e3 * turn.seconds / turn.batches for turn in turns]),
        latency_ms=spread([median(turn.latencies_ms) for turn in turns]),
        device_ms=spread([median(turn.stages_ms["infer"]) for turn in turns]),
        to_fp32=against("fp32", key),
        to_fp16=against("fp16", key),
        batches=sum(turn.batches for turn in turns),
    )


def _decide(
    entrants: Sequence[Entrant],
    course: Course,
    timings: Mapping[str, tuple[RaceTiming, ...]],
    ended: Ended,
    rounds: int,
    failed: Mapping[str, str],
) -> Decision:
    if ended == "cancelled":
        return Decision(None, f"the race was cancelled after {rounds} round{'s' * (rounds != 1)}")
    rates = {name: {it.batch: it.frames_per_s for it in own} for name, own in timings.items()}
    if not rates and failed and len(failed) == len(entrants):
        return Decision(None, "nobody could be raced (" + "; ".join(f"{n}: {why}" for n, why in failed.items()) + ")")
    if not rates and entrants:
        return Decision(None, "not a single round was completed in time: allow the race more of it")
    return decide(entrants, rates, course.batches)


def _entry(
    one: Entrant, line_up: LineUp, timings: Mapping[str, tuple[RaceTiming, ...]], decision: Decision
) -> RaceEntry:
    facts = line_up.facts.get(one.name, Facts())
    return RaceEntry(
        name=one.name,
        precision=one.precision,
        backend=one.backend,
        loss=one.loss,
        error=one.error,
        refused_because=one.refused_because,
        failed=line_up.failed.get(one.name, ""),
        timings=timings.get(one.name, ()),
        speed=decision.speeds.get(one.name),
        io=facts.io,
        memory=facts.memory,
        notes=facts.notes,
    )


def _notes(ran: Ran, rounds: int, limits: Limits) -> tuple[str, ...]:
    notes = []
    if not ran.together:
        asked = limits.together is False
        reason = "was asked" if asked else "all together do not fit into the GPU's memory"
        notes.append(
            f"each engine was loaded anew in every round, as {reason}: {rounds} rounds with turns of "
            f"{ran.pace.turn_s:.2f} s"
        )
    if 0 < rounds < limits.rounds:
        notes.append(
            f"only {rounds} of at least {limits.rounds} rounds were completed in {limits.seconds:g} s: give the race "
            "more time for a verdict to rely on"
        )
    return tuple(notes)
