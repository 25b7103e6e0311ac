# SPDX-License-Identifier: Apache-2.0
"""Parts of the message ``v1/thermal/``, see `edged.messages.Thermal`."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from edged.messages_stats import Count


class SensorValue(msgspec.Struct, kw_only=True):
    """A sensor whose value is known.

    Attributes:
        name: as the machine calls it, unique within its kind.
        kind: ``temperature``, ``margin`` (to where the hardware slows down), ``clock``, ``power``, ``power_limit``,
            ``energy``, ``voltage``, ``load``, ``fan`` (how hard it is driven), ``fan_speed``; the set may grow.
        value: in ``unit``.
        unit: ``celsius``, ``hertz``, ``watts``, ``joules``, ``volts``, ``ratio`` or ``rpm``.
    """

    name: str
    kind: str
    value: float
    unit: str


class UnknownSensor(msgspec.Struct, kw_only=True):
    """A sensor that ought to be there and tells nothing, and why."""

    name: str
    kind: str
    reason: str


class ClockSpeed(msgspec.Struct, kw_only=True):
    """A clock.

    Attributes:
        name: ``gpu``, ``gpu-memory``, ``cpu0`` …
        hz: now, hertz.
        allowed_hz: the most it may run at the moment; absent where unknown.
        hardware_hz: the most the hardware can do; absent where unknown.
    """

    name: str
    hz: float
    allowed_hz: float | UnsetType = UNSET
    hardware_hz: float | UnsetType = UNSET


class MemoryUse(msgspec.Struct, kw_only=True):
    """Memory in use, bytes.

    Attributes:
        kind: ``gpu``, ``unified`` (shared by GPU and CPU) or ``host``.
        used: in use.
        total: there is.
    """

    kind: str
    used: Count
    total: Count


class Throttling(msgspec.Struct, kw_only=True):
    """What holds the device back now.

    Attributes:
        cause: ``thermal``, ``power_cap`` or ``over_current``.
        since: when it began, Unix seconds.
        evidence: what speaks for it, in words and numbers.
    """

    cause: str
    since: float
    evidence: str


class NamedCause(msgspec.Struct, kw_only=True):
    """A cause of lost throughput: ``thermal``, ``power_cap``, ``over_current``, ``power_mode``, ``input_starvation``,
    ``host_cpu`` or ``none_found``, with what speaks for it."""

    cause: str
    evidence: str


class Fallen(msgspec.Struct, kw_only=True):
    """Throughput has fallen.

    Attributes:
        best_hz: median of the best ten seconds of the last hour, frames a second.
        now_hz: of the last ten.
        causes: the one with the strongest evidence first.
    """

    best_hz: float
    now_hz: float
    causes: list[NamedCause]


class Governing(msgspec.Struct, kw_only=True):
    """What the governor does.

    Attributes:
        mode: ``off``, ``advise`` or ``act``.
        level: step of the ladder; 0 is the configured load.
        lowest: last step of the ladder, the lowest load.
        share: estimated load, as a part of the configured one.
        doing: the step, as a clause.
    """

    mode: str
    level: Count = 0
    lowest: Count = 0
    share: float = 1.0
    doing: str = ""
