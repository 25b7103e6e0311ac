# SPDX-License-Identifier: Apache-2.0
"""Evidence in words and numbers."""

from __future__ import annotations

from edged.monitor.causes_evidence import Level
from edged.monitor.causes_spans import Span
from edged.monitor.readings import PowerMode

_MOST = 3
_STANDS_STILL_RPM = 1.0
_DRIVEN = 0.3


def percent(share: float) -> str:
    """A share as people write it."""
    return f"{100 * share:.0f} %"


def megahertz(hertz: float) -> str:
    """A clock as people write it."""
    return f"{hertz / 1e6:.0f} MHz"


def listed(names: tuple[str, ...]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - _MOST} more" if len(names) > _MOST else ""
    return ", ".join(names[:_MOST]) + more


def held_words(what: str, level: Level) -> str:
    """How long something was at work, by what."""
    amount = f"{what} {percent(level.share)} of {level.observed_s:.0f} s ({listed(level.names)}"
    if level.seconds:
        amount += f": {level.seconds:.1f} s counted"
    if level.events:
        amount += f": {level.events:.0f} events"
    return amount + ")"


def heat_words(now: Span) -> str:
    """The hottest sensor and the smallest margin."""
    temperatures, margins = now.middles("temperature"), now.middles("margin")
    words = []
    if temperatures:
        name = max(temperatures, key=lambda each: temperatures[each])
        words.append(f"{name} {temperatures[name]:.1f} °C")
    if margins:
        words.append(f"{min(margins.values()):.1f} °C to the slowdown")
    return ", ".join(words)


def heat_numbers(level: Level | None, then: Span, now: Span) -> dict[str, float]:
    """The same for programs; what is unknown is absent."""
    numbers: dict[str, float] = {}
    if level is not None:
        numbers["share"] = level.share
        numbers |= {"held_seconds": level.seconds} if level.seconds else {}
        numbers |= {"events": level.events} if level.events else {}
    if temperatures := now.middles("temperature"):
        numbers["temperature_celsius"] = max(temperatures.values())
    if margins := now.middles("margin"):
        numbers["margin_celsius"] = min(margins.values())
    for name, value in now.clocks.items():
        numbers[f"clock_hz_{name}"] = value
        if name in then.clocks:
            numbers[f"clock_hz_{name}_before"] = then.clocks[name]
    return numbers


def clocks_words(then: Span, now: Span) -> str:
    """Clocks now and before."""
    pairs = [(name, then.clocks[name], value) for name, value in now.clocks.items() if name in then.clocks]
    return ", ".join(f"{name} {megahertz(value)}, before {megahertz(best)}" for name, best, value in pairs)


def fan_words(now: Span) -> str:
    """A fan that ought to turn and does not; else empty."""
    driven, speeds = now.middles("fan"), now.middles("fan_speed")
    if driven and speeds and max(driven.values()) >= _DRIVEN and max(speeds.values()) < _STANDS_STILL_RPM:
        return f"the fan is driven at {percent(max(driven.values()))} and stands still"
    return ""


def mode_words(then: PowerMode | None, now: PowerMode | None) -> str:
    """A power mode that was switched."""
    return f"power mode {_mode(now)}, before {_mode(then)}"


def _mode(mode: PowerMode | None) -> str:
    if mode is None:
        return "unknown"
    return f"{mode.number} ({mode.name})" if mode.name else str(mode.number)


def drop_words(then: Span, now: Span) -> str:
    """The fall itself."""
    return f"{now.hz:.1f} frames a second, before {then.hz:.1f}, and nothing that is known explains it"


def standing_words(now: Span) -> str:
    """What holds the clocks down all the time, and so explains no fall; else empty."""
    clocks = [clock for reading in now.readings[-1:] for clock in reading.clocks]
    held = [
        f"{clock.name} may run at {megahertz(clock.allowed)} of {megahertz(clock.hardware)} all the time"
        for clock in clocks
        if clock.allowed and clock.hardware and clock.allowed < 0.97 * clock.hardware
    ]
    mode = f" (power mode {_mode(now.mode)})" if held and now.mode else ""
    return ", ".join(held[:_MOST]) + mode


def unknown_words(now: Span) -> str:
    """What could not be looked at; else empty."""
    if not now.readings:
        return "no sensor was read"
    names = tuple(f"{each.name} {each.kind}" for each in now.readings[-1].unknown)
    return f"unknown: {listed(names)}" if names else ""
