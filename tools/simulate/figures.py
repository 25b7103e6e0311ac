# SPDX-License-Identifier: Apache-2.0
"""What came out of a simulated run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from tools.simulate.feeds import MS, NS
from tools.simulate.world import World

_WARM_UP_S = 2.0


class Figures(NamedTuple):
    """One run, without its first two seconds and what comes after its end.

    Attributes:
        published_hz: frames a second, from the end of the first batch to that of the last.
        batch: mean frames of a batch.
        busy: share of the time that the device computes.
        age_ms: 50th, 95th and 99th percentile of the age at publish; nan where nothing was published.
        dropped: share of the frames captured that was overwritten or too old, over the whole run.
        stale: share of the frames captured that was too old.
        fairness: Jain's index of what each source got of its fair share: 1 if all got the same part of it.
        least: the smallest such part.
        most_passed: most batches in a row that closed without a source that had a frame.
    """

    published_hz: float
    batch: float
    busy: float
    age_ms: tuple[float, float, float]
    dropped: float
    stale: float
    fairness: float
    least: float
    most_passed: int


def figures_of(world: World, seconds: float) -> Figures:
    """Sum up a run of so many seconds."""
    begin, end = int(min(_WARM_UP_S, seconds / 2) * NS), int(seconds * NS)
    span = (end - begin) / NS
    ages = [[each.age_ns for each in tally.published if begin <= each.at_ns < end] for tally in world.tallies]
    everything = np.array([age for each in ages for age in each], dtype=np.float64)
    batches = [batch for batch in world.batches if begin <= batch.done_ns < end]
    busy = sum(world.device.cost_ns[len(batch.picks) - 1] for batch in batches) / NS / span
    captured = sum(tally.captured for tally in world.tallies)
    stale = sum(tally.stale for tally in world.tallies)
    rates = [len(each) / span for each in ages]
    due = fair_shares([tally.captured / seconds for tally in world.tallies], sum(rates))
    parts = np.array([rate / share for rate, share in zip(rates, due, strict=True) if share > 0])
    p50, p95, p99 = np.percentile(everything, [50, 95, 99]) / MS if everything.size else (np.nan,) * 3
    return Figures(
        published_hz=_rate_hz(world, begin, end),
        batch=float(np.mean([len(batch.picks) for batch in batches])) if batches else 0.0,
        busy=busy,
        age_ms=(float(p50), float(p95), float(p99)),
        dropped=(stale + sum(tally.overwritten for tally in world.tallies)) / max(1, captured),
        stale=stale / max(1, captured),
        fairness=float(parts.sum() ** 2 / (parts.size * (parts**2).sum())) if parts.any() else 0.0,
        least=float(parts.min()) if parts.size else 0.0,
        most_passed=max(tally.most_passed for tally in world.tallies),
    )


def _rate_hz(world: World, begin_ns: int, end_ns: int) -> float:
    """Where a batch more or less falls into the time measured does not matter."""
    times = sorted(each.at_ns for tally in world.tallies for each in tally.published if begin_ns <= each.at_ns < end_ns)
    if not times or times[0] == times[-1]:
        return 0.0
    return sum(1 for at in times if at > times[0]) * NS / (times[-1] - times[0])


def fair_shares(wanted: Sequence[float], total: float) -> list[float]:
    """Max-min fair shares of a total: nobody gets more than it wants, and what the modest leave goes to the others."""
    shares = [0.0] * len(wanted)
    left = total
    order = sorted(range(len(wanted)), key=lambda index: wanted[index])
    for place, index in enumerate(order):
        shares[index] = min(wanted[index], left / (len(order) - place))
        left -= shares[index]
    return shares
