# SPDX-License-Identifier: Apache-2.0
"""``edged bench --sustained``: the whole daemon at full load over minutes, as its own ledger saw it.

The ledger lies beside the daemon's own, in ``<state_dir>/bench-ledger``: a second run within ten minutes goes on from
the first, with minute numbers, peaks and all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from statistics import median
from typing import NamedTuple

from edged.bench.child import Child
from edged.bench.report_sustained import Course, Stretch, SustainedRun
from edged.bench.subject import Subject
from edged.bench.workload import Workload, flat_out, settings_text
from edged.files import make_folder
from edged.graph.prepare import FOLDER
from edged.messages import Event, Message, Stats, Thermal
from edged.monitor.heat import gauges
from edged.monitor.ledger.figures import Figures, figures
from edged.monitor.ledger.history import read
from edged.monitor.ledger.record import Minute
from edged.monitor.ledger.totals import Totals
from edged.monitor.readings import Clock, Reading, Sensor
from edged.rig.rounds import Stop
from edged.runtime.monitoring import LEDGER

BENCH_LEDGER = "bench-ledger"
STEADY = 0.02
"""Minutes whose throughput stays within this share of their median are one steady state."""
_FEWEST = 3
_TOPICS = ("v1/predictions/", "v1/stats/", "v1/thermal/", "v1/event/", "v1/health/")
_TOLD = ("throttle-", "throughput-", "governor-", "ledger")


class Lasting(NamedTuple):
    """How long to load, whether to end now, and what is called each second."""

    seconds: float
    stop: Stop
    tick: Callable[[], None]


class _Second(NamedTuple):
    at_s: float
    frames_per_s: float | None
    thermal: Thermal | None


def measure_sustained(subject: Subject, max_batch: int | None, uris: Sequence[str], plan: Lasting) -> SustainedRun:
    """Load the daemon and read what its ledger has then; ends early with what there is.

    Args:
        subject: what runs.
        max_batch: frames of a batch at the most; None leaves it to the daemon.
        uris: sources; those configured, or pictures drawn before, where there are none.
        plan: how long.

    Raises:
        EdgedError: the daemon ended.
    """
    store = subject.settings.daemon.state_dir.absolute()
    ledger = store / BENCH_LEDGER
    make_folder(ledger)
    work = flat_out(subject, uris)
    before = {(minute.run, minute.start_us) for minute in read(ledger)}
    seconds: list[_Second] = []
    events: list[str] = []
    with Child(lambda endpoint, folder: _text(subject, work, endpoint, folder, max_batch), plan.stop, _TOPICS) as child:
        if child.first() is not None:
            child.subscriber.unsubscribe(_TOPICS[0])
            _watch(child, plan, seconds, events)
    return _run_of(work, ledger, before, seconds, events)


def _text(subject: Subject, work: Workload, endpoint: str, folder: Path, max_batch: int | None) -> str:
    """Settings with a state folder of its own, in which the engine is the store's and the ledger the bench's."""
    store, state = subject.settings.daemon.state_dir.absolute(), folder / "state"
    if subject.manifest is None:
        state.mkdir()
        (state / FOLDER).symlink_to(store / FOLDER)
        daemon = subject.settings.daemon.model_copy(update={"state_dir": state})
        subject = replace(subject, settings=subject.settings.model_copy(update={"daemon": daemon}))
    text = settings_text(subject, work, endpoint, folder, max_batch)
    (state / LEDGER).symlink_to(store / BENCH_LEDGER)
    return text


def _watch(child: Child, plan: Lasting, seconds: list[_Second], events: list[str]) -> None:
    """Take in what is told, until the time is over by the daemon's own clock."""
    begin: float | None = None
    before: tuple[float, int] | None = None
    thermal: Thermal | None = None
    while not plan.stop():
        message: Message | None = child.next(0.5)
        if isinstance(message, Thermal):
            thermal = message
        elif isinstance(message, Event) and message.kind.startswith(_TOLD):
            events.append(f"{message.kind}: {message.text}")
        elif isinstance(message, Stats):
            now = (message.uptime_s, _published(message))
            begin = now[0] if begin is None else begin
            if before is not None and now[0] > before[0]:
                rate = max(0, now[1] - before[1]) / (now[0] - before[0])
                seconds.append(_Second(now[0] - begin, rate, thermal))
                plan.tick()
            before = now
            if now[0] - begin >= plan.seconds:
                return


def _published(stats: Stats) -> int:
    publish = stats.processes.get("publish")
    sent = None if publish is None else publish.stages.get("send")
    return 0 if sent is None else sent.count


def _run_of(
    work: Workload, ledger: Path, before: set[tuple[str, int]], seconds: Sequence[_Second], events: list[str]
) -> SustainedRun:
    kept = list(read(ledger))
    new = [minute for minute in kept if (minute.run, minute.start_us) not in before]
    series = {minute.series for minute in new[-1:]}
    minutes = [minute for minute in kept if minute.series in series and minute.number]
    told = [_stretch(f"minute {minute.number}", minute.totals) for minute in minutes]
    first, last = (told[0], told[-1]) if told else (None, None)
    ratio = None
    if first is not None and last is not None and first.frames_per_s and last.frames_per_s is not None:
        ratio = last.frames_per_s / first.frames_per_s
    return SustainedRun(
        seconds=seconds[-1].at_s if seconds else 0.0,
        sources=work.shown,
        first=first,
        last=last,
        steady=steady_state(minutes),
        minutes=told,
        ratio=ratio,
        peak_hz=max((minute.peak_mhz / 1000 for minute in new), default=0.0) or None,
        course=_course(seconds),
        events=events,
        ledger=str(ledger),
    )


def steady_state(minutes: Sequence[Minute]) -> Stretch | None:
    """The longest tail of minutes in which throughput stays within 2 % of its median; None below three minutes.

    A last minute that was cut short counts like the others: its rate is of the time that was seen.
    """
    rates = [1e6 * minute.totals.frames / minute.totals.covered_us for minute in minutes]
    for start in range(len(rates) - _FEWEST + 1):
        tail = rates[start:]
        middle = median(tail)
        if middle > 0 and all(abs(rate - middle) <= STEADY * middle for rate in tail):
            return _stretch("steady state", reduce(_added, (minute.totals for minute in minutes[start:]), Totals()))
    return None


def _added(total: Totals, other: Totals) -> Totals:
    total.add(other)
    return total


def _stretch(name: str, totals: Totals) -> Stretch:
    found: Figures = figures(totals)
    means = {gauge: it.mean for gauge, it in found.gauges.items()}
    latency, temperature = found.latency, found.gauges.get("temperature_c")
    return Stretch(
        name=name,
        seconds=found.covered_s,
        frames=found.frames,
        frames_per_s=found.rate_hz,
        mean_ms=latency and latency.mean,
        deviation_ms=latency and latency.deviation,
        p50_ms=latency and latency.p50,
        p95_ms=latency and latency.p95,
        p99_ms=latency and latency.p99,
        temperature_c=means.get("temperature_c"),
        hottest_c=None if temperature is None else temperature.high,
        gpu_clock_mhz=means.get("gpu_clock_mhz"),
        cpu_clock_mhz=means.get("cpu_clock_mhz"),
        power_w=means.get("power_w"),
        energy_per_frame_j=found.energy_per_frame_j,
        held_back_s=dict(found.held_back_s),
    )


def _course(seconds: Sequence[_Second]) -> Course:
    known = [_gauges(second.thermal) for second in seconds]
    return Course(
        at_s=[second.at_s for second in seconds],
        frames_per_s=[second.frames_per_s for second in seconds],
        temperature_c=[gauge.get("temperature_c") for gauge in known],
        gpu_clock_mhz=[gauge.get("gpu_clock_mhz") for gauge in known],
        cpu_clock_mhz=[gauge.get("cpu_clock_mhz") for gauge in known],
        power_w=[gauge.get("power_w") for gauge in known],
        held_back=[second.thermal is not None and bool(second.thermal.throttle) for second in seconds],
    )


def _gauges(thermal: Thermal | None) -> dict[str, float | None]:
    """What the ledger would keep of a message."""
    if thermal is None:
        return {}
    # The kinds are those of `edged.monitor.readings.Kind`: the daemon is of the same version.
    sensors = tuple(Sensor(it.name, it.kind, it.value, it.unit) for it in thermal.sensors)  # type: ignore[arg-type]
    clocks = tuple(Clock(it.name, it.hz, None, None) for it in thermal.clocks)
    power = thermal.power_w if isinstance(thermal.power_w, float) else None
    return gauges(Reading(0.0, sensors, clocks=clocks, power_w=power))
