# SPDX-License-Identifier: Apache-2.0
"""What people see: tables of what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich import box
from rich.bar import Bar
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from edged.bench.report import Contestant, Measurement, Memory, Report
from edged.bench.report_daemon import DaemonRun, LiveRun
from edged.bench.tables_sustained import sustained_parts
from edged.engine.summary import size as bytes_text
from edged.rig.figures import Distribution, Spread

WIDTH = 120
"""Of what is printed where there is no terminal."""
_BAR = 24
_LATENCY = ("min", "mean", "p50", "p90", "p99", "max")
_STAGES = ("submit", "copy", "infer", "deliver")
_NAMES = {
    "engine": "engine alone",
    "engine-eager": "engine, no graph",
    "pipeline": "pipeline",
    "pipeline-single": "pipeline, 1 at a time",
    "daemon": "daemon",
}


def show(report: Report, console: Console) -> None:
    """Print everything that was measured."""
    options, machine = report.options, report.machine
    if not options.sustained_s:
        console.print(
            f"{options.rounds} alternating rounds of {options.seconds:g} s, {options.warm_up_s:g} s of warm-up before; "
            f"median and range of the rounds, latencies of all batches. {machine.cores} cores, load before "
            f"{machine.load_before:.2f}",
            style="dim",
        )
    for contestant in report.contestants:
        for part in _contestant(contestant):
            console.print(part)
    if report.comparisons:
        console.print(Text("\nside by side", style="bold"))
        for found in report.comparisons:
            console.print(f"  {_NAMES[found.level]}, batch {found.batch}: {found.sentence}", highlight=False)
    for note in report.notes:
        console.print(f"note: {note}", style="yellow", highlight=False)
    for missed in report.missed:
        console.print(f"MISSED: {missed}", style="bold red", highlight=False)
    if not report.complete:
        console.print("incomplete: this is what was measured so far", style="yellow")


def _contestant(found: Contestant) -> Iterator[RenderableType]:
    height, width = found.frame
    head = f"\n{found.label}: {found.backend} {found.precision} on {found.device}"
    head += f", {found.runtime}" if found.runtime else ""
    yield Text(head, style="bold")
    facts = [f"frames {width}x{height}", f"{found.slots} slots"]
    facts += [f"{found.contexts} contexts"] if found.contexts > 1 else []
    if found.threads:
        facts.append(f"{found.parallel} runs side by side of {found.threads} thread(s)")
    facts += [f"io {found.io}"] if found.io else []
    facts += list(found.profiles)
    yield _told(", ".join(facts))
    if found.measurements:
        yield _levels(found)
        yield from _sweep(found)
        yield from _stages(found)
    yield from _slots(found)
    if found.memory is not None:
        yield _memory(found.memory)
    if found.daemon is not None:
        yield from _daemon(found.daemon)
    if found.sustained is not None:
        yield from sustained_parts(found.sustained)
    yield from _closing(found)


def _closing(found: Contestant) -> Iterator[RenderableType]:
    for note in found.notes:
        yield _told(f"note: {note}", style="yellow")
    if found.verdict is not None:
        yield _told(Text.assemble("\nverdict: ", (found.verdict.sentence, "bold")))
        for line in found.verdict.evidence:
            yield _told(line, 4)
    for one in found.advice:
        yield _told(Text.assemble("recommended: ", (f"{one.key} = {one.value}", "bold"), f": {one.why}"))


def _told(text: str | Text, indent: int = 2, style: str = "") -> Padding:
    """A paragraph that keeps its indentation where it wraps."""
    return Padding(Text(text, style=style) if isinstance(text, str) else text, (0, 0, 0, indent))


def _table(*columns: str, left: Sequence[str] = ()) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in left else "right", no_wrap=True)
    return table


def _titled(title: str, table: Table) -> RenderableType:
    return Group(_told(f"\n{title}"), Padding(table, (0, 0, 0, 2)))


def _levels(found: Contestant) -> RenderableType:
    table = _table("batch", "", "frames/s", "range", *_LATENCY, "batches", left=("",))
    last = 0
    for it in sorted(found.measurements, key=lambda it: it.batch):
        if last and it.batch != last:
            table.add_section()
        last = it.batch
        rates = it.frames_per_s
        table.add_row(str(it.batch), _name(it, found), rate(rates.median), _range(rates), *_times(it), str(it.batches))
    return _titled("frames/s: median and range of the rounds; latency of a batch, ms", table)


def _name(it: Measurement, found: Contestant) -> str:
    several = it.level == "engine" and len(found.profiles) > 1 and it.profile is not None
    return f"{_NAMES[it.level]}, profile {it.profile}" if several else _NAMES[it.level]


def _times(it: Measurement) -> list[str]:
    return [milliseconds(getattr(it.latency_ms, name)) for name in _LATENCY]


def _sweep(found: Contestant) -> Iterator[RenderableType]:
    """Bars of the level that tells where the device saturates."""
    full = found.saturation
    if full is None:
        return
    table = _table("batch", "frames/s", "", "of the best", "p50 ms", " ", left=("", " "))
    for batch in found.batches(full.level):
        it = found.found(full.level, batch)
        if it is None:
            continue
        middle = it.frames_per_s.median
        bar = Bar(full.best_frames_per_s, 0, middle, width=_BAR, color="cyan")
        mark = "<- saturated: the smallest batch with 95 %" if batch == full.batch else ""
        share = f"{middle / full.best_frames_per_s:.0%}"
        table.add_row(str(batch), rate(middle), bar, share, milliseconds(it.latency_ms.p50), mark)
    yield _titled(f"{_NAMES[full.level]} by batch size", table)


def _stages(found: Contestant) -> Iterator[RenderableType]:
    own = [it for batch in found.batches("pipeline") if (it := found.found("pipeline", batch)) is not None]
    if not own:
        return
    table = _table("batch", *_STAGES, "pipeline / engine alone", "range")
    ratios = {it.batch: it.ratio for it in found.efficiency}
    for it in own:
        ratio = ratios.get(it.batch)
        cells = [milliseconds(it.stages_ms[stage]) if stage in it.stages_ms else "" for stage in _STAGES]
        shares = ["", ""] if ratio is None else [f"{ratio.median:.1%}", f"{ratio.low:.1%} - {ratio.high:.1%}"]
        table.add_row(str(it.batch), *cells, *shares)
    yield _titled("stages of a batch in the pipeline, median ms", table)


def _slots(found: Contestant) -> Iterator[RenderableType]:
    if not found.slot_runs:
        return
    best = max(run.frames_per_s.median for run in found.slot_runs)
    batch = found.slot_runs[0].batch
    table = _table("slots", "frames/s", "range", "of the best", "p50 ms", "p99 ms")
    for run in found.slot_runs:
        middle, times = run.frames_per_s.median, run.latency_ms
        cells = [rate(middle), _range(run.frames_per_s), f"{middle / best:.0%}"]
        table.add_row(str(run.slots), *cells, milliseconds(times.p50), milliseconds(times.p99))
    yield _titled(f"pipeline by slots, batch {batch}", table)


def _memory(memory: Memory) -> RenderableType:
    def told(count: int | None) -> str:
        return "unknown" if count is None else bytes_text(count)

    return _told(
        f"\nGPU memory: weights {told(memory.weights)}, activations {told(memory.activations)} (workspace included; at "
        f"most {told(memory.workspace_limit)} a layer), buffers {told(memory.buffers)}, other {told(memory.other)}; "
        f"taken in all {told(memory.taken)}. Page-locked on the host {told(memory.page_locked)}"
    )


def _daemon(daemon: DaemonRun) -> Iterator[RenderableType]:
    middle = daemon.frames_per_s
    yield _told(
        f"\ndaemon: {rate(middle.median)} frames/s published ({_range(middle)}), batches of {daemon.batch_mean:.1f} on "
        f"average, at most {daemon.batch}"
    )
    yield _told(f"from {', '.join(daemon.sources)}", 4)
    if daemon.capture_per_s is not None:
        yield _told(f"capture alone: {rate(daemon.capture_per_s)} frames/s", 4)
    if daemon.live is not None:
        yield from _live(daemon.live)
    for note in daemon.notes:
        yield _told(f"note: {note}", style="yellow")
    if daemon.stages:
        table = _table("stage", "elapsed", "CPU", left=("stage",))
        for name, cost in daemon.stages.items():
            table.add_row(name, f"{cost.wall_us:,.1f}", f"{cost.cpu_us:,.1f}")
        yield _titled("stages of the daemon, µs a frame", table)


def _live(live: LiveRun) -> Iterator[RenderableType]:
    offered, published = rate(live.offered_per_s), rate(live.published_per_s)
    yield _told(f"live: {offered} frames/s captured, {published} published; age at publish, ms: {_ages(live.age_ms)}")
    yield _told(f"from {', '.join(live.sources)}", 4)
    yield _told("median ms: " + ", ".join(f"{name} {milliseconds(it)}" for name, it in live.timing_ms.items()), 4)
    if live.dropped:
        yield _told("dropped: " + ", ".join(f"{why} {count}" for why, count in live.dropped.items()), 4)


def _ages(ages: Distribution) -> str:
    return ", ".join(f"{name} {milliseconds(getattr(ages, name))}" for name in _LATENCY)


def _range(found: Spread) -> str:
    return f"{rate(found.low)} - {rate(found.high)}"


def rate(value: float) -> str:
    """Frames a second, to what a measurement is good for."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def milliseconds(value: float) -> str:
    """Milliseconds, to a microsecond at the most."""
    return f"{value:.3f}" if value < 10 else f"{value:.2f}" if value < 100 else f"{value:.0f}"
