# SPDX-License-Identifier: Apache-2.0
"""The part of a report that tells of the whole daemon."""

from __future__ import annotations

import msgspec

from edged.rig.figures import Distribution, Spread


class StageCost(msgspec.Struct, frozen=True, kw_only=True):
    """Of one stage of the daemon, microseconds a frame, all its processes together: elapsed, and CPU time."""

    wall_us: float
    cpu_us: float


class LiveRun(msgspec.Struct, frozen=True, kw_only=True):
    """The daemon with live sources.

    Attributes:
        sources: what was captured, without credentials.
        offered_per_s: frames a second that were captured.
        published_per_s: frames a second that were published.
        age_ms: capture to publish.
        timing_ms: medians of the messages' ``timing_ms``.
        dropped: frames dropped meanwhile, by reason.
    """

    sources: tuple[str, ...]
    offered_per_s: float
    published_per_s: float
    age_ms: Distribution
    timing_ms: dict[str, float]
    dropped: dict[str, int]


class DaemonRun(msgspec.Struct, kw_only=True):
    """``edged run`` with a subscriber.

    Attributes:
        sources: what was captured for throughput, without credentials.
        batch: most frames that a batch had.
        frames_per_s: published, of each round.
        batch_mean: frames that a batch really had, on average.
        stages: where the time went, a frame.
        busy: share of the time that a stage's process was busy: ``capture`` (the busiest), ``infer``, ``publish``.
        capture_per_s: frames a second that the same capture processes deliver with nothing behind them.
        live: the daemon with live sources.
        notes: what to know of it.
    """

    sources: tuple[str, ...]
    batch: int
    frames_per_s: Spread
    batch_mean: float = 0.0
    stages: dict[str, StageCost] = {}
    busy: dict[str, float] = {}
    capture_per_s: float | None = None
    live: LiveRun | None = None
    notes: list[str] = []
