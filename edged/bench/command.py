# SPDX-License-Identifier: Apache-2.0
"""``edged bench``: from the command line to the report."""

from __future__ import annotations

import os
import platform
import signal
import sys
import time
from argparse import Namespace
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from edged import __version__
from edged.bench.arguments import overrides_of
from edged.bench.compare import comparisons
from edged.bench.daemon import Player, measure_daemons, starts_of
from edged.bench.levels import Entry, compare_slots, measure, powers, turns_of
from edged.bench.loading import open_bays
from edged.bench.report import Contestant, Machine, Options, Report
from edged.bench.subject import Request, Subject, against, resolve, unique
from edged.bench.sustained import Lasting, measure_sustained
from edged.bench.tables import WIDTH, show
from edged.bench.verdict import advice, verdict
from edged.entry import INTERRUPTED
from edged.errors import StateDirError, UsageError
from edged.files import write_atomically
from edged.rig.rounds import Plan
from edged.runtime.signals import STOP_SIGNALS, StopSignal, install

MISSED = 1
"""Exit code where a figure misses its ``--check-…``."""
_BUSY_LOAD = 0.5


def run_bench(given: Namespace, environ: Mapping[str, str]) -> int:
    """Measure, print, and write what was asked for.

    Args:
        given: what `edged.bench.arguments.add_flags` reads, with ``overrides``.
        environ: environment variables; those that start with ``EDGED_`` are settings.

    Returns:
        The exit code: 0, 130 where it was interrupted before it was done, or 1 where a check was missed.

    Raises:
        EdgedError: what was measured until then is printed first.
    """
    before = {number: signal.getsignal(number) for number in STOP_SIGNALS}
    stop = install()
    try:
        return _bench(given, environ, stop)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        stop.close()


def _bench(given: Namespace, environ: Mapping[str, str], stop: StopSignal) -> int:
    machine_output = given.json == "-"
    console = Console(stderr=machine_output)
    if not console.is_terminal:
        console = Console(stderr=machine_output, width=WIDTH, highlight=False)
    run = _Run(given, environ, stop)
    ended = False
    try:
        run.measure()
        ended = True
    finally:
        # An error is one line in the end; what was measured until then took minutes.
        if not ended:
            run.report.notes.append("an error ended it")
        if ended or run.measured:
            run.conclude()
            show(run.report, console)
            for line in run.layer_lines:
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    _write(given, run.report)
    if not run.report.complete:
        return INTERRUPTED
    return MISSED if run.report.missed else 0


def _write(given: Namespace, report: Report) -> None:
    if given.plot is not None:
        from edged.bench.plot import write_plot
        from edged.bench.plot_sustained import write_sustained_plot

        run = report.contestants[0].sustained
        if run is not None:
            write_sustained_plot(report.contestants[0], run, given.plot)
        else:
            write_plot(report, given.plot)
    if given.json is None:
        return
    content = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
    if given.json == "-":
        sys.stdout.write(content.decode())
        return
    try:
        write_atomically(Path(given.json), content)
    except OSError as error:
        raise StateDirError(f"the report cannot be written: {error.strerror}", where=given.json) from error


class _Run:
    """One run of the bench; `report` holds what there is at any moment."""

    def __init__(self, given: Namespace, environ: Mapping[str, str], stop: StopSignal) -> None:
        self._given = given
        self._stop = stop
        self.layer_lines: list[str] = []
        request = Request(given.spec, given.config, overrides_of(given))
        if given.sustained is not None and given.against:
            raise UsageError(
                "--sustained takes no --against: two loads on one device share its heat",
                where="edged bench",
                remedy="run one after the other, each from a cool device",
            )
        first = resolve(request, environ)
        self._subjects = [first, *(against(text, request, first, environ) for text in given.against)]
        self._batches = _batches(given, self._subjects)
        load = os.getloadavg()[0]
        cores = len(os.sched_getaffinity(0))
        plan = Plan(given.rounds, given.seconds, lambda: stop.requested, lambda: None)
        self.report = Report(
            edged=__version__,
            started_at=time.time(),
            machine=Machine(
                system=f"{platform.system()} {platform.release()}",
                architecture=platform.machine(),
                cores=cores,
                python=platform.python_version(),
                load_before=load,
            ),
            options=Options(
                what=given.what if given.sustained is None else ("sustained",),
                sustained_s=given.sustained or 0.0,
                batches=self._batches,
                rounds=given.rounds,
                seconds=given.seconds,
                warm_up_s=plan.warm_up_s,
            ),
        )
        if load > _BUSY_LOAD:
            self.report.notes.append(f"the machine was not quiet when this began (load {load:.2f})")
        labels = unique(self._subjects)
        self.report.contestants = [_blank(*pair) for pair in zip(self._subjects, labels, strict=True)]

    @property
    def measured(self) -> bool:
        """Whether there is anything to show."""
        return any(it.measurements or it.daemon or it.sustained for it in self.report.contestants)

    def measure(self) -> None:
        """Fill in the report, level by level; ends early where a stop is asked for."""
        given = self._given
        progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total} turns"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
            transient=True,
            disable=not sys.stderr.isatty(),
        )
        with progress:
            if given.sustained is not None:
                self._sustained(progress)
                return
            if {"engine", "pipeline"}.intersection(given.what) or given.layers:
                self._engines(progress)
            if "daemon" in given.what and not self._stop.requested:
                self._daemons(progress)
        self.report.complete = not self._stop.requested

    def _plan(self, progress: Progress, text: str, turns: int) -> Plan:
        task = progress.add_task(text, total=turns)
        given, stop = self._given, self._stop
        return Plan(given.rounds, given.seconds, lambda: stop.requested, lambda: progress.advance(task))

    def _engines(self, progress: Progress) -> None:
        given = self._given
        with ExitStack() as stack:
            bays = open_bays(self._subjects, stack)
            entries = [Entry(*pair) for pair in zip(bays, self.report.contestants, strict=True)]
            for bay, result in entries:
                result.device, result.runtime = bay.device, bay.runtime
            turns = turns_of(entries, given.what, self._batches, given.rounds)
            plan = self._plan(progress, "engine and pipeline", turns)
            measure(entries, given.what, self._batches, plan)
            for entry in entries:
                if "pipeline" in given.what and not self._stop.requested:
                    compare_slots(entry, _chosen_batch(entry), plan)
            for entry in entries:
                if given.layers and not self._stop.requested:
                    self._layers(entry)

    def _daemons(self, progress: Progress) -> None:
        given = self._given
        players = [
            Player(subject, result, max(given.batch) if given.batch else subject.settings.engine.max_batch)
            for subject, result in zip(self._subjects, self.report.contestants, strict=True)
        ]
        turns = given.rounds * len(players) + 2 * len(players)
        plan = self._plan(progress, f"daemon, started {starts_of(len(players), given.rounds)}×", turns)
        measure_daemons(players, given.source, plan)

    def _sustained(self, progress: Progress) -> None:
        given, subject, result = self._given, self._subjects[0], self.report.contestants[0]
        task = progress.add_task("daemon at full load, seconds", total=round(given.sustained))
        largest = max(given.batch) if given.batch else subject.settings.engine.max_batch
        plan = Lasting(given.sustained, lambda: self._stop.requested, lambda: progress.advance(task))
        result.sustained = measure_sustained(subject, largest, given.source, plan)
        self.report.complete = not self._stop.requested

    def _layers(self, entry: Entry) -> None:
        bay, result = entry
        batch = result.max_batch
        pipeline = result.found("pipeline", batch)
        ends = None if pipeline is None else 1e3 * batch / pipeline.frames_per_s.median
        found = bay.layers(batch, ends)
        result.layers = found.as_json()
        self.layer_lines += ["", f"{result.label}: layers at batch {batch}", *found.lines()]

    def conclude(self) -> None:
        """Draw the conclusions from what there is."""
        report = self.report
        for contestant in report.contestants:
            contestant.verdict, contestant.advice = verdict(contestant), advice(contestant)
        if len(report.contestants) > 1:
            report.comparisons = comparisons(report.contestants)
        report.missed = _missed(self._given, report)


def _batches(given: Namespace, subjects: list[Subject]) -> tuple[int, ...]:
    """The batch sizes to measure.

    Raises:
        UsageError: a size was asked for that no contestant takes.
    """
    fixed = {subject.prepared.fixed_batch for subject in subjects} - {None}
    if given.batch is not None:
        largest = max(subject.limit for subject in subjects)
        if max(given.batch) > largest and any(subject.on_gpu for subject in subjects):
            raise UsageError(
                f"--batch {max(given.batch)}: the engine takes {largest} at the most",
                where="edged bench",
                remedy="build one with --max-batch, or measure smaller ones",
            )
        return tuple(given.batch)
    sizes: set[int] = {size for size in fixed if size is not None}
    for subject in subjects:
        if subject.prepared.fixed_batch is None:
            sizes |= set(powers(subject.limit)) if given.sweep else {1, subject.usual}
    return tuple(sorted(sizes))


def _blank(subject: Subject, label: str) -> Contestant:
    engine = subject.engine
    profiles = () if subject.manifest is None else tuple(map(str, subject.manifest.fields.profiles))
    return Contestant(
        label=label,
        spec=str(subject.spec),
        model_id=subject.model.id,
        backend=engine.backend,
        precision=engine.precision,
        engine=engine.key,
        runtime="",
        device="GPU" if subject.on_gpu else "CPU",
        frame=subject.frame,
        slots=subject.slots,
        contexts=subject.settings.engine.contexts,
        threads=subject.threads,
        parallel=subject.parallel,
        max_batch=subject.usual,
        profiles=profiles,
        notes=[engine.note] if engine.note else [],
    )


def _chosen_batch(entry: Entry) -> int:
    """Where the number of slots is compared: the saturated batch, else the largest that was measured."""
    result = entry.result
    if result.saturation is not None:
        return result.saturation.batch
    own = result.batches("pipeline")
    return own[-1] if own else entry.bay.subject.usual


def _missed(given: Namespace, report: Report) -> list[str]:
    """The checks that were not met; of the first contestant, at its largest batch. What was not measured is missed."""
    first = report.contestants[0]
    batches = first.batches("pipeline")
    pipeline = first.found("pipeline", batches[-1]) if batches else None
    ratio = first.efficiency[-1].ratio.median if first.efficiency else None
    live = None if first.daemon is None or first.daemon.live is None else first.daemon.live.age_ms.p99
    rate = None if pipeline is None else pipeline.frames_per_s.median
    checks = (
        ("pipeline, frames/s", rate, given.check_rate, 1),
        ("pipeline / engine alone", ratio, given.check_ratio, 1),
        ("live age p99, ms", live, given.check_p99, -1),
    )
    found = []
    for name, value, wanted, sign in checks:
        if wanted is not None and (value is None or sign * value < sign * wanted):
            has = "not measured" if value is None else f"{value:.4g}"
            found.append(f"{name}: {has}, wanted {'at least' if sign > 0 else 'at most'} {wanted:g}")
    return found
