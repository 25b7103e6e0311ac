# SPDX-License-Identifier: Apache-2.0
"""Metrics of `edged.messages.Stats`: processes, stages, agreement, and the ledger's windows."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET, UnsetType
from prometheus_client.metrics_core import Metric

from edged.messages import Stats
from edged.messages_stats import ProcessStats, Sustained, Verified, Window
from edged.monitor.metrics_family import counter, gauge, quantiles, summary

_PROCESS, _STAGE, _WINDOW = ("process",), ("process", "stage"), ("window",)


def stats_families(stats: Stats) -> Iterator[Metric]:
    """Families of the statistics."""
    yield gauge("edged_uptime_seconds", "Since the daemon started.", (), [((), stats.uptime_s)])
    yield from _processes(stats.processes)
    if stats.verified is not UNSET:
        yield from _verified(stats.verified)
    yield from _windows(stats.windows)
    yield from sustained_families(stats.sustained)


def sustained_families(found: Sustained | UnsetType) -> Iterator[Metric]:
    """Peak against now."""
    if found is UNSET:
        return
    text = "Most predictions a second of any minute with this engine and these sources."
    yield gauge("edged_throughput_peak_hertz", text, (), [((), found.peak_hz)])
    text = "Predictions a second over the last minute."
    yield gauge("edged_throughput_hertz", text, (), [((), found.now_hz)])
    if found.ratio is not UNSET:
        text = "Throughput of the last minute as a part of the peak's."
        yield gauge("edged_throughput_sustained_ratio", text, (), [((), found.ratio)])


def _processes(processes: dict[str, ProcessStats]) -> Iterator[Metric]:
    each = [((name,), process) for name, process in processes.items()]
    stages = [((*name, stage), time) for name, process in each for stage, time in process.stages.items()]
    text = "How often a process was replaced."
    yield counter("edged_process_restarts", text, _PROCESS, [(name, process.restarts) for name, process in each])
    text = "CPU time of a process; starts again when it is replaced."
    yield counter("edged_process_cpu_seconds", text, _PROCESS, [(name, process.cpu_s) for name, process in each])
    text = "Elapsed time of a stage, without stages inside it."
    rows = [(labels, time.count, time.wall_s) for labels, time in stages]
    yield summary("edged_stage_duration_seconds", text, _STAGE, rows)
    text = "CPU time of a stage, without stages inside it."
    yield counter("edged_stage_cpu_seconds", text, _STAGE, [(labels, time.cpu_s) for labels, time in stages])


def _verified(found: Verified) -> Iterator[Metric]:
    text = "Frames compared with the FP32 reference."
    yield counter("edged_verified_frames", text, (), [((), found.frames)])
    known = {"100": found.last_100, "1000": found.last_1000}
    text = "Agreement with the FP32 reference over the last so many frames, mean."
    rows = [((frames,), figures.mean / 100) for frames, figures in known.items() if figures is not None]
    yield gauge("edged_agreement_ratio", text, ("frames",), rows)
    text = "Agreement below which an event tells."
    yield gauge("edged_agreement_bound_ratio", text, (), [((), found.bound / 100)])


def _windows(windows: dict[str, Window]) -> Iterator[Metric]:
    each = [((name,), window) for name, window in windows.items()]
    text = "Predictions a second, by window."
    rates = [(name, window.rate_hz) for name, window in each if window.rate_hz is not UNSET]
    yield gauge("edged_window_rate_hertz", text, _WINDOW, rates)
    yield quantiles(
        "edged_window_age_seconds",
        "From capture to publish, all sources together, by window.",
        _WINDOW,
        [
            (name, {"0.5": it.p50 / 1000, "0.95": it.p95 / 1000, "0.99": it.p99 / 1000})
            for name, window in each
            if (it := window.latency_ms) is not UNSET
        ],
    )
    text = "Energy a prediction, by window."
    energy = [(name, it.energy_per_frame_j) for name, it in each if it.energy_per_frame_j is not UNSET]
    yield gauge("edged_window_energy_per_frame_joules", text, _WINDOW, energy)
    text = "How long a cause held the device back, by window."
    held = [((*name, cause), held_s) for name, window in each for cause, held_s in window.held_back_s.items()]
    yield gauge("edged_window_held_back_seconds", text, ("window", "cause"), held)
