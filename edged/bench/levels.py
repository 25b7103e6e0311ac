# SPDX-License-Identifier: Apache-2.0
"""Engine and pipeline, batch size by batch size, all contestants in the same rounds."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, closing
from typing import NamedTuple

from edged.bench.bays import Bay
from edged.bench.figures import measurement, saturation
from edged.bench.report import Contestant, Efficiency, LevelName, SlotRun
from edged.rig.figures import ratios
from edged.rig.pipe import Pipe, Pumped
from edged.rig.rounds import Plan, Way, alternate

MOST_SLOTS = 3
_SLOTS_WORTHWHILE = 1.03


class Entry(NamedTuple):
    """A contestant and where its figures go."""

    bay: Bay
    result: Contestant


class _Key(NamedTuple):
    """A way in a round: whose, at which level, in which optimisation profile."""

    who: int
    level: LevelName
    profile: int | None


def powers(limit: int) -> list[int]:
    """1, 2, 4, … and the limit itself."""
    sizes = [1]
    while sizes[-1] * 2 <= limit:
        sizes.append(sizes[-1] * 2)
    return sizes if sizes[-1] == limit else [*sizes, limit]


def turns_of(entries: Sequence[Entry], what: Sequence[str], batches: Sequence[int], rounds: int) -> int:
    """How many turns `measure` is going to have, about: for a progress bar."""
    count = 0
    for bay, _ in entries:
        for batch in batches:
            if not takes(bay, batch):
                continue
            if "engine" in what:
                count += max(1, len(bay.profiles(batch))) + int(bay.subject.on_gpu)
            if "pipeline" in what:
                count += 2
        if "pipeline" in what:
            count += MOST_SLOTS
    return count * rounds


def takes(bay: Bay, batch: int) -> bool:
    """Whether a contestant can run a batch of this size."""
    fixed = bay.subject.prepared.fixed_batch
    return batch == fixed if fixed is not None else batch <= bay.subject.limit


def measure(entries: Sequence[Entry], what: Sequence[str], batches: Sequence[int], plan: Plan) -> None:
    """Fill in measurements, efficiency, saturation and memory; ends early with what there is when asked to stop."""
    with ExitStack() as stack:
        pipes: list[Pipe | None] = [None] * len(entries)
        for index, (bay, result) in enumerate(entries):
            own = [batch for batch in batches if takes(bay, batch)]
            if "pipeline" in what and own and not plan.stop():
                pipes[index] = stack.enter_context(closing(bay.pipe(bay.subject.slots, max(own))))
                result.memory, result.io = bay.memory(), bay.io
        for batch in batches:
            if not plan.stop():
                _one_batch(entries, pipes, what, batch, plan)
    for bay, result in entries:
        level: LevelName = "pipeline" if "pipeline" in what else "engine"
        rates = {size: found.frames_per_s.median for size in batches if (found := result.found(level, size))}
        result.saturation = saturation("pipeline" if "pipeline" in what else "engine", rates)
        result.notes += [note for note in bay.notes if note not in result.notes]


def _one_batch(
    entries: Sequence[Entry], pipes: Sequence[Pipe | None], what: Sequence[str], batch: int, plan: Plan
) -> None:
    with ExitStack() as stack:
        ways: dict[_Key, Way] = {}
        for index, ((bay, _), pipe) in enumerate(zip(entries, pipes, strict=True)):
            if not takes(bay, batch):
                continue
            if "engine" in what:
                ways |= _engine_ways(index, bay, batch, stack)
            if pipe is not None:
                ways[_Key(index, "pipeline", None)] = Pumped(pipe, batch)
                ways[_Key(index, "pipeline-single", None)] = Pumped(pipe, batch, under_way=1)
        for key, turns in alternate(ways, plan).items():
            bay, result = entries[key.who]
            under_way = {"pipeline": bay.subject.slots, "pipeline-single": 1}.get(key.level, bay.subject.parallel)
            result.measurements.append(measurement(key.level, batch, under_way, key.profile, turns))
    for _, result in entries:
        engine, pipeline = result.found("engine", batch), result.found("pipeline", batch)
        if engine is not None and pipeline is not None:
            ratio = ratios(pipeline.frames_per_s, engine.frames_per_s)
            result.efficiency.append(Efficiency(batch=batch, ratio=ratio))


def _engine_ways(index: int, bay: Bay, batch: int, stack: ExitStack) -> dict[_Key, Way]:
    """The engine alone: in each profile that takes the batch, the narrowest first, and without a graph."""
    ways: dict[_Key, Way] = {}
    profiles: Sequence[int | None] = bay.profiles(batch) or (None,)
    for profile in profiles:
        way = bay.alone(batch, profile=profile)
        if way is not None:
            ways[_Key(index, "engine", profile)] = stack.enter_context(closing(way))
    eager = bay.alone(batch, profile=profiles[0], graph=False)
    if eager is not None:
        ways[_Key(index, "engine-eager", profiles[0])] = stack.enter_context(closing(eager))
    return ways


def compare_slots(entry: Entry, batch: int, plan: Plan) -> None:
    """The pipeline with 1, 2 and 3 slots (and as many as are set), in rounds of their own."""
    bay, result = entry
    counts = sorted({*range(1, MOST_SLOTS + 1), bay.subject.slots})
    with ExitStack() as stack:
        ways: dict[int, Way] = {}
        for slots in counts:
            if plan.stop():
                return
            ways[slots] = Pumped(stack.enter_context(closing(bay.pipe(slots, batch))), batch)
        for slots, turns in alternate(ways, plan).items():
            found = measurement("pipeline", batch, slots, None, turns)
            result.slot_runs.append(
                SlotRun(slots=slots, batch=batch, frames_per_s=found.frames_per_s, latency_ms=found.latency_ms)
            )


def enough_slots(runs: Sequence[SlotRun]) -> SlotRun | None:
    """The fewest slots that no larger number beats by more than 3 %; None where nothing was measured."""
    if not runs:
        return None
    best = max(run.frames_per_s.median for run in runs)
    return min((run for run in runs if run.frames_per_s.median * _SLOTS_WORTHWHILE >= best), key=lambda run: run.slots)
