# SPDX-License-Identifier: Apache-2.0
"""A device that heats up with its load and slows down by itself when it is too hot.

First order: ``C · dT/dt = P − (T − ambient) / R``. Power grows with the time the device is busy and with the square of
its clock. At the trip point the hardware halves its clock, and gives it back a few degrees below. Latency follows from
how busy it is, as that of a queue with one server, and ends at the age limit of the frames.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from edged.monitor.governor.govern import govern
from edged.monitor.governor.loads import Load, SmallerEngine, SourceLoad
from edged.monitor.governor.state import Bands, Decision, Heat, Mode, State

MAX_AGE_MS = 500.0


@dataclass
class Device:
    """A board with its cooler; the defaults are those of a small module in a closed box.

    Attributes:
        ambient_c: around it.
        resistance: of the cooler with its fan turning, Kelvin a watt.
        capacity: joules a Kelvin; times ``resistance`` it is the time constant.
        idle_w: at rest.
        busy_w: on top of that when always busy at full clock.
        frame_ms: to infer a frame at full clock.
        trip_c: where the hardware slows down; it gives the clock back ``release_c`` below.
    """

    ambient_c: float = 35.0
    resistance: float = 2.2
    capacity: float = 70.0
    idle_w: float = 5.0
    busy_w: float = 25.0
    frame_ms: float = 14.0
    trip_c: float = 95.0
    release_c: float = 5.0
    slow_clock: float = 0.5
    temperature_c: float = 45.0
    throttled: bool = False

    def run(self, seconds: float, offered_hz: float, cost: float, fan: float) -> float:
        """Go on for a while and return the p99 latency, milliseconds.

        Args:
            seconds: how long, in one step.
            offered_hz: frames a second to infer.
            cost: of a frame, as a part of ``frame_ms``.
            fan: how well it cools: 1 as new, less when it fails.
        """
        clock = self.slow_clock if self.throttled else 1.0
        service_ms = self.frame_ms * cost / clock
        busy = offered_hz * service_ms / 1000
        power = self.idle_w + self.busy_w * min(busy, 1.0) * clock**2
        lost = (self.temperature_c - self.ambient_c) * fan / self.resistance
        self.temperature_c += seconds * (power - lost) / self.capacity
        self.throttled = self.temperature_c >= (self.trip_c - self.release_c if self.throttled else self.trip_c)
        return MAX_AGE_MS if busy >= 1 else min(MAX_AGE_MS, service_ms * (1 + 2 * busy / (1 - busy)))


@dataclass
class Course:
    """What happened, one entry a second: temperature, throttled or not, level, p99 in milliseconds; and the steps."""

    temperatures: list[float] = field(default_factory=list)
    throttled: list[bool] = field(default_factory=list)
    levels: list[int] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)

    @property
    def changes(self) -> list[float]:
        """When the level changed, seconds."""
        return [decision.at_s for decision in self.decisions if decision.before != decision.after]

    def turns(self, after_s: float) -> int:
        """How often the direction changed after a moment."""
        kinds = [step.kind for step in self.decisions if step.before != step.after and step.at_s > after_s]
        return sum(first != second for first, second in pairwise(kinds))

    def most_changes(self, within_s: float = 60.0) -> int:
        """The most changes of level in any stretch of so many seconds, ends included."""
        return max((sum(0 <= later - first <= within_s for later in self.changes) for first in self.changes), default=0)


def offered(load: Load, sources: Sequence[SourceLoad], engines: Sequence[SmallerEngine]) -> tuple[float, float]:
    """Frames a second that a load lets through, and what each costs."""
    rate = sum(min(source.rate_hz, load.caps.get(source.name, source.rate_hz)) for source in sources)
    return rate / load.interval, next((engine.cost for engine in engines if engine.key == load.engine), 1.0)


def simulate(
    device: Device,
    sources: Sequence[SourceLoad],
    engines: Sequence[SmallerEngine],
    steps: Sequence[Load],
    seconds: int,
    *,
    mode: Mode = "act",
    bands: Bands | None = None,
    fan: Callable[[int], float] = lambda _: 1.0,
    sensor: Callable[[int, float], float | None] = lambda _, temperature: temperature,
    noise_c: float = 0.2,
    seed: int = 0,
) -> Course:
    """Let the governor rule a device, with a reading each second.

    Args:
        device: is changed.
        sources: at the configured load.
        engines: smaller ones.
        steps: the ladder.
        seconds: how long.
        mode: of the governor.
        bands: of the governor; its own by default.
        fan: how well the fan cools, by second.
        sensor: what is read of the temperature, by second.
        noise_c: of the reading, uniform to both sides; it is then rounded to half a degree.
        seed: of the noise.
    """
    rng, course, state, load = random.Random(seed), Course(), State(), steps[0]
    for second in range(seconds):
        p99_ms = device.run(1.0, *offered(load, sources, engines), fan(second))
        read = sensor(second, round(2 * (device.temperature_c + rng.uniform(-noise_c, noise_c))) / 2)
        heat = Heat(float(second), read, device.trip_c, device.throttled, p99_ms)
        state, decision = govern(state, heat, steps, bands or Bands(), mode)
        if decision is not None:
            course.decisions.append(decision)
            load = decision.load if decision.acts else load
        course.temperatures.append(device.temperature_c)
        course.throttled.append(device.throttled)
        course.levels.append(steps.index(load))
        course.p99_ms.append(p99_ms)
    return course
