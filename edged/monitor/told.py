# SPDX-License-Identifier: Apache-2.0
"""What the monitor knows, as the messages ``v1/thermal/`` and ``v1/stats/`` tell it."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from edged.messages import Envelope, Thermal
from edged.messages_stats import GaugeFigures, LatencyFigures, Sustained, Window
from edged.messages_thermal import ClockSpeed, Fallen, MemoryUse, NamedCause, SensorValue, Throttling, UnknownSensor
from edged.monitor.causes import Finding
from edged.monitor.causes_events import Throttle
from edged.monitor.ledger.figures import Figures
from edged.monitor.ledger.ledger import Sustained as Measured
from edged.monitor.monitor import Monitor
from edged.monitor.readings import Clock, Reading

_ENVELOPE = frozenset(Envelope.__struct_fields__)


def windows(monitor: Monitor, now_s: float) -> dict[str, Window]:
    """The ledger's windows by the names that the message has for them."""
    return {f"{minutes}m": _window(figures) for minutes, figures in monitor.ledger.windows(now_s).items()}


def sustained(monitor: Monitor, now_s: float) -> Sustained | UnsetType:
    """Peak against now."""
    found: Measured | None = monitor.ledger.sustained(now_s)
    if found is None:
        return UNSET
    ratio = UNSET if found.ratio is None else round(found.ratio, 4)
    return Sustained(peak_hz=round(found.peak_hz, 3), now_hz=round(found.now_hz, 3), ratio=ratio)


def thermal(monitor: Monitor, now_s: float, wall_s: float) -> dict[str, Any]:
    """All of `edged.messages.Thermal` but its envelope.

    Args:
        monitor: what is known.
        now_s: monotonic seconds.
        wall_s: Unix seconds.
    """
    boot_s = wall_s - now_s
    reading = monitor.reading or Reading(now_s)
    message = Thermal(
        device="",
        boot="",
        seq=1,
        at=0.0,
        read_at=UNSET if monitor.reading is None else round(boot_s + reading.at, 3),
        sensors=[
            SensorValue(name=each.name, kind=each.kind, value=_short(each.value), unit=each.unit)
            for each in reading.sensors
        ],
        unknown=[UnknownSensor(name=each.name, kind=each.kind, reason=each.reason) for each in reading.unknown],
        clocks=[_clock(each) for each in reading.clocks],
        power_w=_known(reading.power_w),
        power_limit_w=_known(reading.power_limit_w),
        memory=UNSET if reading.memory is None else MemoryUse(**reading.memory._asdict()),
        power_mode=_mode(reading),
        throttle=[_throttling(each, boot_s) for each in monitor.throttles],
        sustained=sustained(monitor, now_s),
        fallen=_fallen(monitor.finding),
        governor=monitor.governed.message,
    )
    return {name: value for name, value in msgspec.to_builtins(message).items() if name not in _ENVELOPE}


def _window(figures: Figures) -> Window:
    latency = figures.latency
    return Window(
        covered_s=round(figures.covered_s, 3),
        frames=figures.frames,
        rate_hz=_known(figures.rate_hz),
        latency_ms=UNSET
        if latency is None
        else LatencyFigures(
            mean=_short(latency.mean),
            deviation=_short(latency.deviation),
            p50=_short(latency.p50),
            p95=_short(latency.p95),
            p99=_short(latency.p99),
        ),
        gauges={
            name: GaugeFigures(mean=_short(gauge.mean), low=_short(gauge.low), high=_short(gauge.high))
            for name, gauge in figures.gauges.items()
        },
        energy_per_frame_j=UNSET if figures.energy_per_frame_j is None else round(figures.energy_per_frame_j, 6),
        held_back_s={cause: round(seconds, 3) for cause, seconds in figures.held_back_s.items()},
    )


def _clock(clock: Clock) -> ClockSpeed:
    return ClockSpeed(
        name=clock.name, hz=clock.hertz, allowed_hz=_known(clock.allowed), hardware_hz=_known(clock.hardware)
    )


def _throttling(throttle: Throttle, boot_s: float) -> Throttling:
    return Throttling(cause=throttle.cause.value, since=round(boot_s + throttle.since, 3), evidence=throttle.evidence)


def _fallen(finding: Finding | None) -> Fallen | UnsetType:
    if finding is None:
        return UNSET
    causes = [NamedCause(cause=named.cause.value, evidence=named.evidence) for named in finding.causes]
    return Fallen(best_hz=_short(finding.best_hz), now_hz=_short(finding.now_hz), causes=causes)


def _mode(reading: Reading) -> str | UnsetType:
    mode = reading.power_mode
    return UNSET if mode is None else mode.name or str(mode.number)


def _known(value: float | None) -> float | UnsetType:
    return UNSET if value is None else _short(value)


def _short(value: float) -> float:
    return round(value, 4)
