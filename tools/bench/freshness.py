# SPDX-License-Identifier: Apache-2.0
"""Fresh: three live sources that together deliver three times what the CPU can infer.

No message may be older than ``max_age_ms``, the sources must share what there is, memory must not grow, and every
health message must account for every frame.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
from pathlib import Path
from typing import Any

from edged.graph.prepare import prepare
from edged.messages import Health, Message, Prediction
from edged.model_file import load_spec
from tools.bench import harness
from tools.bench.report import Report
from tools.bench.throughput import SideBySide

SOURCES = 3
OVERLOAD = 3.0
_CACHED = 16
_CAPACITY_S = 3.0
_SETTLED = 0.25


def capacity_hz(spec: Path, cache: Path, threads: int) -> float:
    """Frames a second that inference alone reaches, arranged as the daemon arranges it for several sources."""
    prepared = prepare(load_spec(spec), cache)
    return SideBySide(prepared, 1, threads, len(os.sched_getaffinity(0))).run(_CAPACITY_S)[0]


def memory_mb(daemon: harness.Daemon) -> dict[str, float]:
    """Memory of each process without the rings."""
    return {name: harness.memory_of(pid).own for name, pid in harness.family(daemon).items()}


def settings_of(spec: Path, fps: float, max_age_ms: float, threads: int = 0) -> dict[str, Any]:
    """Settings of a daemon with three live sources of so many frames a second each."""
    sources = [
        {
            "name": f"s{number}",
            "uri": f"synthetic://shapes?seed={number}&fps={fps:g}&cache={_CACHED}",
            "max_age_ms": max_age_ms,
        }
        for number in range(SOURCES)
    ]
    return {
        "sources": sources,
        "model": {"spec": str(spec)},
        "engine": {"max_batch": None, "threads": threads},
    }


def overload(
    arguments: argparse.Namespace, folder: Path, spec: Path, fps: float
) -> tuple[list[Message], dict[str, float]]:
    """Messages of a run under too much load, and how much each process grew after its first quarter."""
    settings = settings_of(spec, fps, arguments.max_age_ms, arguments.threads)
    with harness.running(folder, settings) as daemon, daemon.subscriber() as subscriber:
        harness.wait_for_prediction(daemon, subscriber)
        messages = harness.receive_for(daemon, subscriber, arguments.seconds * _SETTLED)
        before = memory_mb(daemon)
        messages += harness.receive_for(daemon, subscriber, arguments.seconds * (1 - _SETTLED))
        after = memory_mb(daemon)
        if subscriber.lost:
            sys.exit(f"messages lost on the way here: {dict(subscriber.lost)}")
        daemon.terminate()
    return messages, {name: after[name] - before[name] for name in before}


def unaccounted(messages: list[Message]) -> int:
    """Health messages in which frames are missing or counted twice."""
    wrong = 0
    for message in messages:
        if isinstance(message, Health):
            try:
                harness.assert_conserved(message)
            except AssertionError as error:
                print(f"not conserved: {error}", file=sys.stderr)
                wrong += 1
    return wrong


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Ages, shares, memory and accounts of three sources under three times the load.")
    parser.add_argument("--model", choices=harness.MODELS, default="yolox")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--max-age-ms", type=float, default=200.0)
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args(argv)
    report = Report("freshness", arguments)
    with harness.folder_for_run() as folder:
        spec = harness.model_spec(arguments.model, folder)
        capacity = capacity_hz(spec, folder / "state" / "prepared", arguments.threads)
        fps = min(1000.0, OVERLOAD * capacity / SOURCES)
        messages, growth = overload(arguments, folder, spec, fps)
    predictions = [message for message in messages if isinstance(message, Prediction)]
    ages = [message.age_ms for message in predictions]
    rates = [
        harness.rate_hz([message for message in predictions if message.source == f"s{number}"])
        for number in range(SOURCES)
    ]
    report.add("inference alone", capacity, "frames/s")
    report.add("offered", fps * SOURCES, "frames/s")
    report.add("published", sum(rates), "frames/s")
    report.add("age: median", statistics.median(ages), "ms")
    report.add("age: oldest", max(ages), "ms", at_most=arguments.max_age_ms)
    report.add("rates: slowest ÷ fastest source", min(rates) / max(rates), at_least=0.9)
    report.add("memory: largest growth of a process", max(growth.values()), "MB", at_most=2.0)
    report.add("health messages", sum(isinstance(message, Health) for message in messages), at_least=1)
    report.add("health messages that do not add up", unaccounted(messages), at_most=0)
    report.details |= {"rates_hz": rates, "growth_mb": growth}
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
