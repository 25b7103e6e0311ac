# SPDX-License-Identifier: Apache-2.0
"""One look at the machine: plain values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal, NamedTuple

Kind = Literal[
    "temperature", "margin", "clock", "power", "power_limit", "energy", "voltage", "load", "fan", "fan_speed"
]
UNITS: dict[Kind, str] = {
    "temperature": "celsius",
    "margin": "celsius",
    "clock": "hertz",
    "power": "watts",
    "power_limit": "watts",
    "energy": "joules",
    "voltage": "volts",
    "load": "ratio",
    "fan": "ratio",
    "fan_speed": "rpm",
}
"""Unit of each kind of sensor. ``margin`` is the distance to the temperature at which the hardware slows down; ``fan``
is how hard a fan is driven, ``fan_speed`` how fast it turns."""


class Cause(str, Enum):
    """Why throughput fell. The words are part of the messages."""

    THERMAL = "thermal"
    POWER_CAP = "power_cap"
    OVER_CURRENT = "over_current"
    POWER_MODE = "power_mode"
    INPUT_STARVATION = "input_starvation"
    HOST_CPU = "host_cpu"
    NONE_FOUND = "none_found"


class Sensor(NamedTuple):
    """A value that is known.

    Attributes:
        name: as the machine calls it, for example ``gpu-thermal`` or ``VDD_IN``; unique within its kind.
        kind: what is measured.
        value: in ``unit``.
        unit: see `UNITS`.
    """

    name: str
    kind: Kind
    value: float
    unit: str


class Unknown(NamedTuple):
    """A value that ought to be there and is not.

    Attributes:
        name: as in `Sensor`, or the name of a flag or counter.
        kind: of the sensor, or ``flag``, ``counter``, ``memory``, ``power mode``, ``nvml`` (all of a GPU).
        reason: why, in a few words.
    """

    name: str
    kind: str
    reason: str


class Clock(NamedTuple):
    """A clock and what holds it down.

    Attributes:
        name: ``gpu``, ``gpu-gpc-0``, ``cpu0`` …
        hertz: now.
        allowed: the most it may run at the moment; None where unknown.
        hardware: the most the hardware can do; None where unknown.
    """

    name: str
    hertz: float
    allowed: float | None
    hardware: float | None


class Flag(NamedTuple):
    """Whether a cause is at work at this instant; short events between two readings are missed.

    Attributes:
        name: as the machine calls it.
        cause: what it stands for; None where it depends on others (a hardware slowdown that gives no reason).
        active: now.
    """

    name: str
    cause: Cause | None
    active: bool


class Counter(NamedTuple):
    """What a cause has amounted to since some moment in the past; only growth means anything.

    Attributes:
        name: as the machine calls it.
        cause: what it stands for; None where it slows nothing down.
        value: so far.
        unit: ``seconds`` held back, or ``events``.
    """

    name: str
    cause: Cause | None
    value: float
    unit: Literal["seconds", "events"]


class Memory(NamedTuple):
    """Memory in use, in bytes: the GPU's own (``gpu``), shared by GPU and CPU (``unified``), or the ``host``'s."""

    kind: Literal["gpu", "unified", "host"]
    used: int
    total: int


class PowerMode(NamedTuple):
    """The power mode of a Jetson: its number, and its name where the configuration tells (else empty)."""

    number: int
    name: str


@dataclass(frozen=True, slots=True)
class Reading:
    """Everything that was known at one moment.

    A sensor that is switched off, missing or absurd is in ``unknown`` and nowhere else: it never counts as 0, nor as
    cool. One that keeps its value for minutes is left as it is, since a steady machine has steady sensors.

    Attributes:
        at: monotonic clock, seconds.
        sensors: what is known.
        unknown: what is not, and why.
        clocks: of GPU and CPU.
        power_w: of the whole module or of the GPU, watts; never a sum that lacks a rail.
        power_limit_w: enforced limit of the same, watts.
        energy_j: total of the same since the driver was loaded, joules.
        memory: in use.
        flags: causes at this instant.
        counters: causes since some moment.
        power_mode: of a Jetson.
    """

    at: float
    sensors: tuple[Sensor, ...] = ()
    unknown: tuple[Unknown, ...] = ()
    clocks: tuple[Clock, ...] = ()
    power_w: float | None = None
    power_limit_w: float | None = None
    energy_j: float | None = None
    memory: Memory | None = None
    flags: tuple[Flag, ...] = ()
    counters: tuple[Counter, ...] = ()
    power_mode: PowerMode | None = None

    def value(self, kind: Kind, name: str) -> float | None:
        """The value of one sensor, or None where it is unknown."""
        return next((sensor.value for sensor in self.sensors if sensor.kind == kind and sensor.name == name), None)

    def values(self, kind: Kind) -> dict[str, float]:
        """All known values of one kind by name."""
        return {sensor.name: sensor.value for sensor in self.sensors if sensor.kind == kind}


class Throughput(NamedTuple):
    """What the pipeline did since the figures before.

    Attributes:
        at: monotonic clock, seconds; the end of the span.
        hz: frames inferred a second.
        offered_hz: frames captured a second, before any was dropped; None where unknown.
        idle: share of the time in which the infer loop had nothing to do, 0 to 1; None where unknown.
    """

    at: float
    hz: float
    offered_hz: float | None = None
    idle: float | None = None
