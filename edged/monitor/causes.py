# SPDX-License-Identifier: Apache-2.0
"""Why throughput fell: a pure function over readings and figures.

The span in which throughput was best is compared with the newest one. A cause is named where it is at work now *and*
more than then (or the clocks are lower while it is): what was the same at the best throughput does not explain a fall.
What is unknown never names a cause.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from edged.monitor.causes_evidence import Level
from edged.monitor.causes_spans import Span, Thresholds, spans
from edged.monitor.causes_words import (
    clocks_words,
    drop_words,
    fan_words,
    heat_numbers,
    heat_words,
    held_words,
    megahertz,
    mode_words,
    percent,
    standing_words,
    unknown_words,
)
from edged.monitor.readings import Cause, Reading, Throughput


class Named(NamedTuple):
    """One cause of a fall.

    Attributes:
        cause: which.
        strength: of the evidence, 0 to 1: counters above flags, flags above conclusions.
        evidence: what speaks for it, in words and numbers.
        numbers: the numbers alone, for programs; base units.
    """

    cause: Cause
    strength: float
    evidence: str
    numbers: dict[str, float]


class Finding(NamedTuple):
    """A fall of throughput and all its causes.

    Attributes:
        best_hz: median throughput of the best span, frames a second.
        now_hz: of the newest span.
        causes: the one with the strongest evidence first; `Cause.NONE_FOUND` alone where there is none.
    """

    best_hz: float
    now_hz: float
    causes: tuple[Named, ...]

    @property
    def ratio(self) -> float:
        """Throughput now against the best."""
        return self.now_hz / self.best_hz


_IDLE = 0.5
_Detector = Callable[[Span, Span, Thresholds], Named | None]


def explain(
    readings: Sequence[Reading], figures: Sequence[Throughput], thresholds: Thresholds | None = None
) -> Finding | None:
    """Name the causes of a fall of throughput.

    Args:
        readings: of the machine, oldest first.
        figures: of the pipeline over the same time, oldest first.
        thresholds: what counts as a fall and as evidence; the defaults fit figures and readings of once a second.

    Returns:
        None where throughput has not fallen, or where there are too few figures to tell.
    """
    limits = thresholds or Thresholds()
    pair = spans(readings, figures, limits)
    return None if pair is None else compare(*pair, limits)


def compare(then: Span, now: Span, limits: Thresholds) -> Finding:
    """The causes of a fall from one span to another.

    Args:
        then: when throughput was best.
        now: the newest.
        limits: what counts as evidence.
    """
    found = [named for detect in _DETECTORS if (named := detect(then, now, limits)) is not None]
    found.sort(key=lambda named: -named.strength)
    return Finding(then.hz, now.hz, tuple(found) or (_none_found(then, now),))


def _clock_fell(then: Span, now: Span, limits: Thresholds) -> bool | None:
    """Whether a clock that sets the pace is lower; None where no clock is known in both spans."""
    pairs = [(then.clocks[name], value) for name, value in now.clocks.items() if name in then.clocks]
    return any(value < (1 - limits.clock) * best for best, value in pairs) if pairs else None


def _at_work(cause: Cause, then: Span, now: Span, limits: Thresholds) -> Level | None:
    level, before = now.level(cause), then.level(cause)
    if level.share < limits.share:
        return None
    fell = _clock_fell(then, now, limits)
    return level if fell is not False or level.share - before.share >= limits.more else None


def _strength(level: Level) -> float:
    return level.share * (1.0 if level.counted else 0.9)


def _thermal(then: Span, now: Span, limits: Thresholds) -> Named | None:
    level = _at_work(Cause.THERMAL, then, now, limits)
    margins = now.middles("margin").values()
    reached = bool(margins) and min(margins) <= limits.margin_c and _clock_fell(then, now, limits) is True
    if level is None and not reached:
        return None
    first = held_words("held back for heat", level) if level else "at the slowdown temperature, and the clock is lower"
    words = (first, heat_words(now), clocks_words(then, now), fan_words(now))
    return Named(
        Cause.THERMAL,
        max(_strength(level) if level else 0.0, 0.5 if reached else 0.0),
        "; ".join(word for word in words if word),
        heat_numbers(level, then, now),
    )


def _power_cap(then: Span, now: Span, limits: Thresholds) -> Named | None:
    level = _at_work(Cause.POWER_CAP, then, now, limits)
    power, limit = now.middles("power").get("gpu"), now.middles("power_limit").get("gpu")
    # Where the hardware itself tells, a draw near the limit proves nothing.
    silent = Cause.POWER_CAP not in now.levels and power is not None and limit is not None
    reached = silent and power >= limits.limit * limit and _clock_fell(then, now, limits) is True  # type: ignore[operator]
    if level is None and not reached:
        return None
    words = [
        held_words("held back by the power limit", level) if level else "at the power limit, and the clock is lower"
    ]
    if power is not None and limit is not None:
        words.append(f"{power:.0f} W of {limit:.0f} W")
    words.append(clocks_words(then, now))
    numbers = heat_numbers(level, then, now) | ({"power_w": power} if power is not None else {})
    text = "; ".join(word for word in words if word)
    return Named(Cause.POWER_CAP, _strength(level) if level else 0.5, text, numbers)


def _over_current(then: Span, now: Span, limits: Thresholds) -> Named | None:
    level = _at_work(Cause.OVER_CURRENT, then, now, limits)
    if level is None:
        return None
    words = (held_words("over-current or under-voltage protection at work", level), clocks_words(then, now))
    text = "; ".join(word for word in words if word)
    return Named(Cause.OVER_CURRENT, _strength(level), text, heat_numbers(level, then, now))


def _power_mode(then: Span, now: Span, limits: Thresholds) -> Named | None:
    switched = then.mode is not None and now.mode is not None and then.mode.number != now.mode.number
    lower = {
        name: (then.allowed[name], value)
        for name, value in now.allowed.items()
        if name in then.allowed and value < (1 - limits.capped) * then.allowed[name]
    }
    # The kernel lowers the allowed clock for heat too: then it is heat, unless the mode was switched as well.
    heat = now.level(Cause.THERMAL).share >= limits.share
    level = _at_work(Cause.POWER_MODE, then, now, limits)
    if not level and (not lower or (heat and not switched)):
        return None
    words = [mode_words(then.mode, now.mode)] if switched else []
    words += [f"{name} allowed {megahertz(value)}, before {megahertz(best)}" for name, (best, value) in lower.items()]
    words += [held_words("clocks set lower", level)] if level else []
    numbers = {f"allowed_hz_{name}": value for name, (_, value) in lower.items()}
    return Named(Cause.POWER_MODE, 0.8, "; ".join(words), numbers)


def _input_starvation(then: Span, now: Span, limits: Thresholds) -> Named | None:
    # A loop that was idle most of the time at its best can hardly become more so: there only the sources tell.
    if then.idle is not None and now.idle is not None and then.idle < _IDLE:
        rise = now.idle - then.idle
        if rise < limits.idle:
            return None
        words = f"the infer loop had nothing to do for {percent(now.idle)} of the time, before {percent(then.idle)}"
        numbers = {"idle": now.idle, "idle_before": then.idle}
        return Named(Cause.INPUT_STARVATION, min(1.0, 0.5 + rise), words + _offered(then, now, numbers), numbers)
    # Without the loop's own word only live sources tell, and only where the device is not as busy as before.
    load, before = now.middles("load").get("gpu"), then.middles("load").get("gpu")
    busy = load is not None and before is not None and load > before - limits.idle
    offered, earlier = now.offered_hz, then.offered_hz
    if busy or offered is None or earlier is None or offered > min(now.hz * 1.05, (1 - limits.fell) * earlier):
        return None
    numbers = {}
    return Named(Cause.INPUT_STARVATION, 0.4, "all that came was done" + _offered(then, now, numbers), numbers)


def _offered(then: Span, now: Span, numbers: dict[str, float]) -> str:
    if then.offered_hz is None or now.offered_hz is None:
        return ""
    numbers |= {"offered_hz": now.offered_hz, "offered_hz_before": then.offered_hz}
    return f"; {now.offered_hz:.1f} frames a second came, before {then.offered_hz:.1f}"


def _host_cpu(then: Span, now: Span, limits: Thresholds) -> Named | None:
    load, before = now.middles("load").get("cpu"), then.middles("load").get("cpu")
    words, numbers, strength = [], {}, 0.0
    if load is not None and before is not None and load >= limits.busy and load - before >= limits.idle:
        words.append(f"the CPU is {percent(load)} busy, before {percent(before)}")
        numbers = {"cpu_load": load, "cpu_load_before": before}
        strength = min(0.9, 0.3 + load - before)
    # Unknown then is not zero then.
    if Cause.HOST_CPU in now.levels and Cause.HOST_CPU in then.levels:
        waiting, earlier = now.level(Cause.HOST_CPU).share, then.level(Cause.HOST_CPU).share
        if waiting - earlier >= limits.waiting:
            words.append(f"work waited for the CPU {percent(waiting)} of the time, before {percent(earlier)}")
            numbers |= {"cpu_waiting": waiting, "cpu_waiting_before": earlier}
            strength = max(strength, min(0.9, 0.3 + waiting - earlier))
    return Named(Cause.HOST_CPU, strength, "; ".join(words), numbers) if words else None


def _none_found(then: Span, now: Span) -> Named:
    words = [drop_words(then, now), standing_words(now), unknown_words(now)]
    return Named(Cause.NONE_FOUND, 0.0, "; ".join(word for word in words if word), {})


_DETECTORS: tuple[_Detector, ...] = (_thermal, _power_cap, _over_current, _power_mode, _input_starvation, _host_cpu)
