# SPDX-License-Identifier: Apache-2.0
"""What a race found: plain values, for the manifest and the report."""

from __future__ import annotations

from typing import Literal

import msgspec

from edged.engine.report.candidate import Accuracy, Candidate, Memory, Precision, Range, Timing
from edged.rig.figures import Spread

Ended = Literal["all rounds", "out of time", "cancelled"]


class RaceTiming(msgspec.Struct, frozen=True, kw_only=True):
    """An entrant at one batch size; every spread has one figure a round.

    Attributes:
        batch: frames in a batch.
        frames_per_s: of the pipeline.
        ms: time for a batch when all slots are busy: 1000 · batch / frames_per_s.
        latency_ms: of a batch from submission to delivery (median of each round); it waits for those before it.
        device_ms: what computing a batch took by the executor's own clock, median of each round.
        to_fp32: frames a second divided by those of the first FP32 entrant in the same round: above 1 is faster. None
            without one.
        to_fp16: likewise of the first FP16 entrant.
        batches: how many were counted.
    """

    batch: int
    frames_per_s: Spread
    ms: Spread
    latency_ms: Spread
    device_ms: Spread
    to_fp32: Spread | None = None
    to_fp16: Spread | None = None
    batches: int


class RaceEntry(msgspec.Struct, frozen=True, kw_only=True):
    """An entrant and how it did.

    Attributes:
        name: unique.
        precision: its precision.
        backend: what ran it.
        loss: points lost against FP32; None where that was not measured.
        error: standard error of the loss, points.
        refused_because: why it could not win, a clause; empty where it could.
        failed: why it could not be raced; empty where it was.
        timings: by ascending batch size; empty where it failed or no round was completed.
        speed: rate divided by that of the fastest that may win, over all deciding sizes as `RaceResult.rule` says,
            round by round. None where nothing was timed, or nobody may win.
        io: how frames got to the device.
        memory: on the GPU; None without one.
        notes: what to know of its figures.
    """

    name: str
    precision: Precision
    backend: str
    loss: float | None = None
    error: float | None = None
    refused_because: str = ""
    failed: str = ""
    timings: tuple[RaceTiming, ...] = ()
    speed: Spread | None = None
    io: str = ""
    memory: Memory | None = None
    notes: tuple[str, ...] = ()

    def timing(self, batch: int) -> RaceTiming | None:
        """What was measured at a batch size."""
        return next((one for one in self.timings if one.batch == batch), None)

    def candidate(
        self, *, chosen: bool = False, accuracy: Accuracy | None = None, int8_share: float | None = None
    ) -> Candidate:
        """The same for the report; ``ms`` of its tables is the latency, its rates are those that decided."""
        return Candidate(
            precision=self.precision,
            name=self.name,
            timings=tuple(
                Timing(batch=it.batch, latency_ms=_range(it.latency_ms), frames_per_s=_range(it.frames_per_s))
                for it in self.timings
            ),
            accuracy=accuracy,
            memory=self.memory,
            int8_share=int8_share,
            chosen=chosen,
            refused_because=self.refused_because or self.failed,
        )


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """The device at a moment, as far as it is known.

    Attributes:
        clocks_mhz: by name.
        celsius: temperatures by name.
    """

    clocks_mhz: dict[str, float] = {}
    celsius: dict[str, float] = {}


class RaceResult(msgspec.Struct, frozen=True, kw_only=True):
    """Everything.

    Attributes:
        winner: name of the entrant to use; None where none may win, or the race was cancelled.
        why: a sentence with figures.
        ties: names of those that the winner was no slower or faster than beyond the spread, the winner left out.
        rule: how it was decided, a sentence.
        entries: in the order given.
        weights: of the batch sizes in the decision.
        slots: batches under way at a time.
        rounds: complete ones; interrupted ones are left out as a whole.
        turn_s: of an entrant at a size in a round.
        warm_up_s: before the first round, or after each loading; not counted.
        seconds: all in all, loading included.
        together: whether all were loaded at once; else each was loaded anew in every round.
        ended: by what.
        begin: the device before the first round; None where nobody looked.
        end: after the last.
        notes: what the user should know, a sentence each.
    """

    winner: str | None
    why: str
    ties: tuple[str, ...] = ()
    rule: str
    entries: tuple[RaceEntry, ...]
    weights: dict[int, float]
    slots: int
    rounds: int
    turn_s: float
    warm_up_s: float
    seconds: float
    together: bool
    ended: Ended
    begin: Conditions | None = None
    end: Conditions | None = None
    notes: tuple[str, ...] = ()

    def entry(self, name: str) -> RaceEntry:
        """An entrant by its name."""
        return next(one for one in self.entries if one.name == name)


def _range(found: Spread) -> Range:
    return Range(median=found.median, low=found.low, high=found.high)
