# SPDX-License-Identifier: Apache-2.0
"""Metrics of `edged.messages.Thermal`: sensors, clocks, power, memory, throttling, the governor. What is unknown has no
sample: it is never 0."""

from __future__ import annotations

from collections.abc import Iterator

from msgspec import UNSET
from prometheus_client.metrics_core import Metric

from edged.messages import Thermal
from edged.messages_thermal import Governing, SensorValue
from edged.monitor.metrics_family import counter, gauge
from edged.monitor.readings import Cause

THROTTLES = (Cause.THERMAL.value, Cause.POWER_CAP.value, Cause.OVER_CURRENT.value)
"""Causes that hold a device back from one moment to the next."""
_SENSOR, _CLOCK = ("sensor",), ("clock",)
_GAUGES = {
    "temperature": ("edged_temperature_celsius", "Temperature by sensor.", 1.0),
    "margin": ("edged_temperature_margin_celsius", "Distance to where the hardware slows down, by sensor.", 1.0),
    "power": ("edged_power_watts", "Power by sensor.", 1.0),
    "power_limit": ("edged_power_limit_watts", "Power limit by sensor.", 1.0),
    "voltage": ("edged_voltage_volts", "Voltage by sensor.", 1.0),
    "load": ("edged_load_ratio", "Load by sensor.", 1.0),
    "fan": ("edged_fan_drive_ratio", "How hard a fan is driven, by sensor.", 1.0),
    # Turns a second instead of a minute: Prometheus' base unit.
    "fan_speed": ("edged_fan_speed_hertz", "Turns of a fan a second, by sensor.", 1 / 60),
}


def thermal_families(thermal: Thermal) -> Iterator[Metric]:
    """Families of heat and power; none where nothing was read."""
    yield from _sensors(thermal.sensors)
    yield from _clocks(thermal)
    if thermal.power_w is not UNSET:
        text = "Power of the whole module or GPU."
        yield gauge("edged_device_power_watts", text, (), [((), thermal.power_w)])
    if thermal.power_limit_w is not UNSET:
        text = "Power limit of the whole module or GPU."
        yield gauge("edged_device_power_limit_watts", text, (), [((), thermal.power_limit_w)])
    if thermal.memory is not UNSET:
        kind = (thermal.memory.kind,)
        yield gauge("edged_memory_used_bytes", "Memory in use.", ("memory",), [(kind, thermal.memory.used)])
        yield gauge("edged_memory_size_bytes", "Memory there is.", ("memory",), [(kind, thermal.memory.total)])
    yield gauge("edged_sensors_unknown", "Sensors that tell nothing.", (), [((), len(thermal.unknown))])
    yield from _causes(thermal)
    if thermal.governor is not UNSET:
        yield from _governor(thermal.governor)


def _sensors(sensors: list[SensorValue]) -> Iterator[Metric]:
    for kind, (name, text, scale) in _GAUGES.items():
        rows = [((sensor.name,), sensor.value * scale) for sensor in sensors if sensor.kind == kind]
        yield gauge(name, text, _SENSOR, rows)
    joules = [((sensor.name,), sensor.value) for sensor in sensors if sensor.kind == "energy"]
    yield counter("edged_energy_joules", "Energy by sensor, since the driver was loaded.", _SENSOR, joules)


def _clocks(thermal: Thermal) -> Iterator[Metric]:
    each = [((clock.name,), clock) for clock in thermal.clocks]
    yield gauge("edged_clock_hertz", "A clock now.", _CLOCK, [(name, clock.hz) for name, clock in each])
    allowed = [(name, clock.allowed_hz) for name, clock in each if clock.allowed_hz is not UNSET]
    yield gauge("edged_clock_allowed_hertz", "The most a clock may run at now.", _CLOCK, allowed)
    hardware = [(name, clock.hardware_hz) for name, clock in each if clock.hardware_hz is not UNSET]
    yield gauge("edged_clock_hardware_hertz", "The most a clock can run at.", _CLOCK, hardware)


def _causes(thermal: Thermal) -> Iterator[Metric]:
    if thermal.read_at is UNSET:
        return
    now = {each.cause for each in thermal.throttle}
    text = "Whether a cause holds the device back now."
    yield gauge("edged_throttled", text, ("cause",), [((cause,), cause in now) for cause in THROTTLES])
    named = set() if thermal.fallen is UNSET else {each.cause for each in thermal.fallen.causes}
    text = "Why throughput is below the best of the last hour: 1 for each cause that was found."
    yield gauge("edged_throughput_fallen", text, ("cause",), [((each.value,), each.value in named) for each in Cause])


def _governor(governor: Governing) -> Iterator[Metric]:
    yield gauge("edged_governor_level", "Step of the governor; 0 is the configured load.", (), [((), governor.level)])
    text = "Load that the governor leaves, as a part of the configured one."
    yield gauge("edged_governor_load_ratio", text, (), [((), governor.share)])
