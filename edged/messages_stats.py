# SPDX-License-Identifier: Apache-2.0
"""Parts of the message ``v1/stats/``, see `edged.messages.Stats`."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

Count = Annotated[int, Meta(ge=0)]


class StageTime(msgspec.Struct, kw_only=True):
    """Cumulative time of one stage of a process since the daemon started.

    Attributes:
        count: how often it ran.
        wall_s: elapsed time, seconds.
        cpu_s: CPU time spent on it, seconds.
    """

    count: Count = 0
    wall_s: float = 0.0
    cpu_s: float = 0.0


class ProcessStats(msgspec.Struct, kw_only=True):
    """One process of the family.

    Attributes:
        cpu_s: CPU time of the process that runs now, seconds.
        restarts: how often it was replaced.
        stages: where its time went, by stage; goes on when the process is replaced.
    """

    cpu_s: float = 0.0
    restarts: Count = 0
    stages: dict[str, StageTime] = msgspec.field(default_factory=dict)


class AgreementFigures(msgspec.Struct, kw_only=True):
    """How far what was published agrees with the FP32 reference.

    Attributes:
        frames: over how many frames.
        mean: points, 0 to 100. A frame's points are for detection 100 times the F1 measure of objects of one class that
            overlap by half (IoU), for classification 100 or 0 for the best class, for segmentation the percentage of
            equal cells, for raw outputs 100 times (1 − norm of the difference / norm of the reference).
        worst: points of the worst of these frames.
        score_shift: mean of (score published − score of the reference) over what both found.
    """

    frames: Count
    mean: float
    worst: float
    score_shift: float | None = None


class Verified(msgspec.Struct, kw_only=True):
    """What `monitor.verify_every` found; counts are since the daemon started.

    Attributes:
        every: one frame in so many of each source is due.
        frames: looked at.
        empty: of these, in how many neither side found anything; they count for nothing else.
        skipped: due while the last one was still being looked at.
        unpublished: set aside, but dropped before they were published.
        last_100: over the last 100 frames that were not empty; absent until there is one.
        last_1000: over the last 1000.
        bound: points below which the mean is not to fall.
        below: whether it has; an event ``accuracy`` told.
        since: when the first frame was looked at, Unix seconds; absent until then.
    """

    every: Annotated[int, Meta(ge=1)]
    frames: Count = 0
    empty: Count = 0
    skipped: Count = 0
    unpublished: Count = 0
    last_100: AgreementFigures | None = None
    last_1000: AgreementFigures | None = None
    bound: float
    below: bool = False
    since: float | None = None


class Sustained(msgspec.Struct, kw_only=True):
    """What became of the best minute.

    Attributes:
        peak_hz: most frames a second of any 60 s with this engine and these sources, earlier runs included.
        now_hz: of the last 60 s.
        ratio: ``now_hz / peak_hz``, 0 to 1; absent where nothing ever went out.
    """

    peak_hz: float
    now_hz: float
    ratio: float | UnsetType = UNSET


class LatencyFigures(msgspec.Struct, kw_only=True):
    """Latency of a stretch of time, from capture to publish, all sources together, milliseconds.

    Attributes:
        mean: exact to the microsecond.
        deviation: standard deviation over all frames.
        p50: the median, within 2 % as the other percentiles.
        p95: 95 of 100 frames were no slower.
        p99: 99 of 100 frames were no slower.
    """

    mean: float
    deviation: float
    p50: float
    p95: float
    p99: float


class GaugeFigures(msgspec.Struct, kw_only=True):
    """A sensor over a stretch of time: mean weighted by time, lowest and highest reading."""

    mean: float
    low: float
    high: float


class Window(msgspec.Struct, kw_only=True):
    """What happened in the last so many minutes; earlier runs of the daemon since the machine started included.

    Attributes:
        covered_s: how much of it was seen, seconds.
        frames: predictions published.
        rate_hz: of these a second, over the time covered; absent where that is none.
        latency_ms: absent where nothing was published.
        gauges: by name, those that told something: ``temperature_c`` (of the hottest GPU or module sensor),
            ``margin_c``, ``gpu_clock_mhz``, ``memory_clock_mhz``, ``cpu_clock_mhz``, ``power_w``; the unit is the
            name's last part.
        energy_per_frame_j: of the whole module or GPU, joules; absent where it is unknown or nothing was published.
        held_back_s: by cause, for how long it held the device back, seconds.
    """

    covered_s: float
    frames: Count
    rate_hz: float | UnsetType = UNSET
    latency_ms: LatencyFigures | UnsetType = UNSET
    gauges: dict[str, GaugeFigures] = msgspec.field(default_factory=dict)
    energy_per_frame_j: float | UnsetType = UNSET
    held_back_s: dict[str, float] = msgspec.field(default_factory=dict)
