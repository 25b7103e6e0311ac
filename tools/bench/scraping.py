# SPDX-License-Identifier: Apache-2.0
"""Scraping: a paced load, with Prometheus asking for the metrics ten times a second and without, in turns.

One daemon throughout; a subscriber reads the ages of all predictions. The scraper is a process of its own, as
Prometheus would be. What is compared are the ages at the 99th percentile of turns that follow each other.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np

from edged.messages import Prediction
from tools.bench import harness
from tools.bench.report import Report, Spread

_SETTLE_S = 2.0
_TARGET = 1.05
_SCRAPE = """
import http.client, json, signal, sys, time
port, every = int(sys.argv[1]), 1 / float(sys.argv[2])
ended, times, size = [], [], 0
signal.signal(signal.SIGTERM, lambda *_: ended.append(1))
next_s = time.monotonic()
while not ended:
    begin = time.monotonic()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    size = len(answer.read())
    assert answer.status == 200, answer.status
    connection.close()
    times.append(time.monotonic() - begin)
    next_s = max(next_s + every, time.monotonic())
    time.sleep(next_s - time.monotonic() if next_s > time.monotonic() else 0)
print(json.dumps({"times": times, "bytes": size}))
"""


class Turn(NamedTuple):
    """What was seen of one turn: ages in ms, CPU seconds of the supervisor, seconds."""

    ages: list[float]
    cpu_s: float
    seconds: float


@contextmanager
def scraping(port: int, hz: float, found: list[dict[str, Any]]) -> Iterator[None]:
    """Somebody who asks for the metrics so many times a second; what that took is added to ``found``."""
    command = [sys.executable, "-c", _SCRAPE, str(port), str(hz)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        yield
        process.terminate()
        found.append(json.loads(process.communicate(timeout=10)[0]))
    finally:
        process.kill()
        process.wait(10)


def watch(daemon: harness.Daemon, subscriber: harness.Subscriber, seconds: float) -> Turn:
    """Ages and CPU time over some seconds, after some more to settle."""
    harness.receive_for(daemon, subscriber, min(_SETTLE_S, seconds / 4))
    supervisor = daemon.process.pid
    before = harness.cpu_s(supervisor)
    messages = harness.receive_for(daemon, subscriber, seconds)
    ages = [message.age_ms for message in messages if isinstance(message, Prediction)]
    return Turn(ages, harness.cpu_s(supervisor) - before, seconds)


def compare(report: Report, calm: list[Turn], asked: list[Turn], found: list[dict[str, Any]]) -> None:
    """Put both sides into the report."""
    for percent in (50, 99):
        sides = [[float(np.percentile(turn.ages, percent)) for turn in turns] for turns in (calm, asked)]
        report.add(f"age p{percent} without", Spread.of(sides[0]), "ms")
        report.add(f"age p{percent} with", Spread.of(sides[1]), "ms")
        ratios = [after / before for before, after in zip(*sides, strict=True)]
        report.add(f"age p{percent}: with ÷ without", Spread.of(ratios), at_most=_TARGET if percent == 99 else None)
    pooled = [float(np.percentile(np.concatenate([turn.ages for turn in turns]), 99)) for turns in (calm, asked)]
    report.add("age p99 of all turns together: with ÷ without", pooled[1] / pooled[0])
    shares = [[turn.cpu_s / turn.seconds * 100 for turn in turns] for turns in (calm, asked)]
    report.add("CPU of the supervisor without", Spread.of(shares[0]), "% of a core")
    report.add("CPU of the supervisor with", Spread.of(shares[1]), "% of a core")
    times = [time * 1000 for each in found for time in each["times"]]
    report.add("answers", float(len(times)))
    report.add("time of an answer", Spread(float(np.median(times)), min(times), max(times)), "ms")
    report.add("size of an answer", found[-1]["bytes"] / 1000, "KB")
    report.details["turns"] = {
        side: [turn._asdict() for turn in turns] for side, turns in (("without", calm), ("with", asked))
    }


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("A paced load with and without somebody who asks for the metrics.")
    parser.add_argument("--model", choices=harness.MODELS, default="demo")
    parser.add_argument("--sources", type=int, default=2)
    parser.add_argument(
        "--fps", type=float, default=30.0, help="of each source; at most 70 %% of what the machine can do"
    )
    parser.add_argument("--rounds", type=int, default=12, help="pairs of turns")
    parser.add_argument("--seconds", type=float, default=8.0, help="of a turn")
    parser.add_argument("--hz", type=float, default=10.0, help="requests a second")
    arguments = parser.parse_args(argv)
    report = Report("scraping", arguments)
    port = harness.free_port()
    uri = "synthetic://shapes?fps={:g}&seed={}"
    calm: list[Turn] = []
    asked: list[Turn] = []
    found: list[dict[str, Any]] = []
    with harness.folder_for_run() as folder:
        settings = {
            "sources": [{"name": f"s{n}", "uri": uri.format(arguments.fps, n)} for n in range(arguments.sources)],
            "model": {"spec": str(harness.model_spec(arguments.model, folder))},
            "http": {"bind": f"127.0.0.1:{port}"},
        }
        with harness.running(folder, settings) as daemon, daemon.subscriber() as subscriber:
            harness.wait_for_prediction(daemon, subscriber)
            for number in range(arguments.rounds):
                # Who goes first changes, so that a drift of the machine favours neither.
                for with_scraper in (False, True) if number % 2 == 0 else (True, False):
                    if with_scraper:
                        with scraping(port, arguments.hz, found):
                            asked.append(watch(daemon, subscriber, arguments.seconds))
                    else:
                        calm.append(watch(daemon, subscriber, arguments.seconds))
            memory = harness.memory_of(daemon.process.pid)
            daemon.terminate()
    compare(report, calm, asked, found)
    report.add("memory of the supervisor", memory.own, "MB", at_most=60.0)
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
