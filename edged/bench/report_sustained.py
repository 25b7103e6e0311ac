# SPDX-License-Identifier: Apache-2.0
"""The part of a report that tells of the daemon at full load over minutes."""

from __future__ import annotations

import msgspec


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """Some minutes of the load, as the ledger has them; what is unknown is None.

    Attributes:
        name: ``minute 1``, ``minute 30``, ``steady state``.
        seconds: how much of it was seen.
        frames: published.
        frames_per_s: of these a second.
        mean_ms: latency, from capture to publish.
        deviation_ms: standard deviation of it.
        p50_ms: median.
        p95_ms: percentile.
        p99_ms: percentile.
        temperature_c: mean, °C; see ``v1/stats/`` for whose.
        hottest_c: highest.
        gpu_clock_mhz: mean.
        cpu_clock_mhz: mean.
        power_w: mean.
        energy_per_frame_j: of the whole device.
        held_back_s: for how long the hardware held itself back, seconds, by cause.
    """

    name: str
    seconds: float
    frames: int
    frames_per_s: float | None = None
    mean_ms: float | None = None
    deviation_ms: float | None = None
    p50_ms: float | None = None
    p95_ms: float | None = None
    p99_ms: float | None = None
    temperature_c: float | None = None
    hottest_c: float | None = None
    gpu_clock_mhz: float | None = None
    cpu_clock_mhz: float | None = None
    power_w: float | None = None
    energy_per_frame_j: float | None = None
    held_back_s: dict[str, float] = {}


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """Figures of every second, of one length; None where something was unknown.

    Attributes:
        at_s: seconds since the load began.
        frames_per_s: published.
        temperature_c: °C.
        gpu_clock_mhz: megahertz.
        cpu_clock_mhz: megahertz, mean of the cores.
        power_w: watts.
        held_back: whether the hardware held itself back.
    """

    at_s: list[float] = []
    frames_per_s: list[float | None] = []
    temperature_c: list[float | None] = []
    gpu_clock_mhz: list[float | None] = []
    cpu_clock_mhz: list[float | None] = []
    power_w: list[float | None] = []
    held_back: list[bool] = []


class SustainedRun(msgspec.Struct, frozen=True, kw_only=True):
    """``edged run`` at full load.

    Attributes:
        seconds: how long it lasted.
        sources: what was captured, without credentials.
        first: the first minute of the series: of this run, or of an earlier one that it goes on from.
        last: the last whole minute.
        steady: the last minutes in which throughput stayed within 2 %; None where it never did for three.
        minutes: all whole minutes of the series.
        ratio: throughput of the last minute against the first.
        peak_hz: best 60 s on record with this engine and these sources.
        course: every second of this run.
        events: what the daemon told meanwhile: throttling, falls of throughput, the governor.
        ledger: folder in which the minutes are kept.
    """

    seconds: float
    sources: tuple[str, ...]
    first: Stretch | None = None
    last: Stretch | None = None
    steady: Stretch | None = None
    minutes: list[Stretch] = []
    ratio: float | None = None
    peak_hz: float | None = None
    course: Course
    events: list[str] = []
    ledger: str = ""
