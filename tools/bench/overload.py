# SPDX-License-Identifier: Apache-2.0
"""Fresh for long: three times the load for minutes. The last minute must be as fresh as the first one.

    python -m tools.bench.overload --minutes 10

As ``tools.bench.freshness``, minute by minute, and with an account of every frame by a subscriber that sees them all.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from edged.messages import Health, Message, Prediction
from tools.bench import harness
from tools.bench.account import Account, subscriber_of
from tools.bench.freshness import OVERLOAD, SOURCES, capacity_hz, memory_mb, settings_of
from tools.bench.report import Report

_MINUTE_S = 60.0


class Minute(NamedTuple):
    """One minute as a subscriber saw it.

    Attributes:
        published_hz: of all sources, frames/s.
        age_ms: 50th and 99th percentile, and the oldest.
        captured: frames, by the health messages.
        overwritten: frames.
        stale: frames.
        share: slowest source ÷ fastest.
        growth_mb: of the process that has grown most since the end of the first minute.
    """

    published_hz: float
    age_ms: tuple[float, float, float]
    captured: int
    overwritten: int
    stale: int
    share: float
    growth_mb: float


def minute_of(messages: Sequence[Message], before: Health, seconds: float, growth_mb: float) -> Minute:
    """Sum up a minute's messages; ``before`` is the last health message before it."""
    predictions = [message for message in messages if isinstance(message, Prediction)]
    if not predictions:
        sys.exit("a minute without a prediction")
    ages = np.array([message.age_ms for message in predictions])
    counts = [sum(message.source == name for message in predictions) for name in before.sources]
    last = [message for message in messages if isinstance(message, Health)][-1]
    pairs = [(last.sources[name], before.sources[name]) for name in before.sources]
    p50, p99 = np.percentile(ages, [50, 99])
    return Minute(
        published_hz=len(predictions) / seconds,
        age_ms=(float(p50), float(p99), float(ages.max())),
        captured=sum(now.captured - then.captured for now, then in pairs),
        overwritten=sum(now.dropped.overwritten - then.dropped.overwritten for now, then in pairs),
        stale=sum(now.dropped.stale - then.dropped.stale for now, then in pairs),
        share=min(counts) / max(counts),
        growth_mb=growth_mb,
    )


def watch(arguments: argparse.Namespace, folder: Path, spec: Path, fps: float) -> tuple[list[Minute], Account]:
    """Run the daemon under too much load and watch it."""
    settings = settings_of(spec, fps, arguments.max_age_ms, arguments.threads)
    settings["publish"] = {"wait_for_subscribers": 1}
    minutes: list[Minute] = []
    account = Account()
    with harness.running(folder, settings) as daemon, subscriber_of(daemon) as subscriber:
        while account.health is None or not account.health.sources or len(account.counted) < SOURCES:
            account.take([harness.receive(daemon, subscriber)])
        start: dict[str, float] = {}
        for _ in range(arguments.minutes):
            before = account.health
            messages = harness.receive_for(daemon, subscriber, arguments.minute_s)
            account.take(messages)
            memory = memory_mb(daemon)
            start = start or memory
            growth = max(memory[name] - start[name] for name in start)
            minutes.append(minute_of(messages, before, arguments.minute_s, growth))
        account.close(daemon, subscriber)
    return minutes, account


def show(minutes: Sequence[Minute]) -> None:
    """Print a row for each minute."""
    table = Table(title="minute by minute", title_justify="left")
    headings = (
        "minute",
        "frames/s",
        "p50",
        "p99",
        "oldest ms",
        "captured",
        "overwritten",
        "stale",
        "share",
        "growth MB",
    )
    for heading in headings:
        table.add_column(heading, justify="right")
    for number, minute in enumerate(minutes, 1):
        ages = [f"{age:.1f}" for age in minute.age_ms]
        counts = [str(count) for count in (minute.captured, minute.overwritten, minute.stale)]
        last = [f"{minute.share:.3f}", f"{minute.growth_mb:.2f}"]
        table.add_row(str(number), f"{minute.published_hz:.1f}", *ages, *counts, *last)
    Console(width=None if sys.stdout.isatty() else 120).print(table)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Ages and accounts of three sources under three times the load, minute by minute.")
    parser.add_argument("--model", choices=harness.MODELS, default="yolox")
    parser.add_argument("--minutes", type=int, default=10)
    parser.add_argument("--minute-s", type=float, default=_MINUTE_S, help="seconds of a minute, for a short look")
    parser.add_argument("--max-age-ms", type=float, default=200.0)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--capacity", type=float, help="of inference alone, frames/s; measured first if not given")
    arguments = parser.parse_args(argv)
    report = Report("overload", arguments)
    with harness.folder_for_run() as folder:
        spec = harness.model_spec(arguments.model, folder)
        capacity = arguments.capacity or capacity_hz(spec, folder / "state" / "prepared", arguments.threads)
        fps = min(1000.0, OVERLOAD * capacity / SOURCES)
        minutes, account = watch(arguments, folder, spec, fps)
    show(minutes)
    for words in account.wrong[:10]:
        print(words, file=sys.stderr)
    first, last = minutes[0], minutes[-1]
    report.add("inference alone", capacity, "frames/s")
    report.add("offered", fps * SOURCES, "frames/s")
    report.add("published", float(np.mean([minute.published_hz for minute in minutes])), "frames/s")
    report.add("first minute: age p99", first.age_ms[1], "ms", at_most=arguments.max_age_ms)
    report.add(f"minute {len(minutes)}: age p99", last.age_ms[1], "ms", at_most=arguments.max_age_ms)
    report.add("oldest of all", max(minute.age_ms[2] for minute in minutes), "ms", at_most=arguments.max_age_ms)
    report.add("rates: slowest ÷ fastest source, worst minute", min(minute.share for minute in minutes), at_least=0.9)
    report.add("memory: largest growth of a process", max(minute.growth_mb for minute in minutes), "MB", at_most=2.0)
    captured = sum(minute.captured for minute in minutes) / (len(minutes) * arguments.minute_s)
    report.add("captured", captured, "frames/s")
    report.add("predictions counted", sum(account.counted.values()))
    report.add("predictions lost on the way to the subscriber", sum(account.missed.values()))
    report.add("accounts that do not add up", len(account.wrong), at_most=0)
    report.details |= {"minutes": [minute._asdict() for minute in minutes], "wrong": account.wrong}
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
