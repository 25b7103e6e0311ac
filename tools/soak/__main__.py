# SPDX-License-Identifier: Apache-2.0
"""A long run of the whole daemon: four sources, settings read again, subscribers coming and going.

    python -m tools.soak --minutes 60 --page soak.html

Must hold: memory grows by at most 1 MB/h after the warm-up, descriptors, threads and shared memory are constant between
reloads, every frame is accounted for in every health message, what a subscriber counts is what was published, no
process is replaced, and every reload is answered as it should be.
"""

from __future__ import annotations

import signal
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from tools.bench import harness
from tools.bench.report import Report
from tools.soak import load
from tools.soak.page import page
from tools.soak.readings import Holding, Trend, holdings, trends, warm_up_of
from tools.soak.tally import Tally
from tools.soak.visitors import Visitors

_ANSWER_S = 20.0
_SETTLE_S = 3.0
_MOST_MB_PER_H = 1.0
_GUESTS = ("capture:guest",)
_LONGEST_WAIT_S = 0.5


class Soak:
    """One run.

    Args:
        daemon: running.
        subscriber: to everything.
        arguments: of the command.
    """

    def __init__(self, daemon: harness.Daemon, subscriber: harness.Subscriber, arguments: Namespace) -> None:
        limits = {"north": 500.0, "south": 300.0, "clip": 500.0, "guest": 500.0}
        self.tally = Tally(limits)
        self.series: list[Holding] = []
        self.reloads = 0
        self._daemon = daemon
        self._subscriber = subscriber
        self._seconds = arguments.minutes * 60
        self._reload_s = arguments.reload_s
        self._changes = load.changes(daemon, arguments.clip)
        self._begin_s = time.monotonic()

    def run(self, visitors: Visitors) -> None:
        """Until the time is over: read settings again, look at the processes when all is quiet again."""
        while (now := time.monotonic()) < self._begin_s + self._seconds:
            self._reload()
            end = min(self._begin_s + self._seconds, now + self._reload_s)
            self._listen_until(min(end, time.monotonic() + _SETTLE_S))
            if self._usual:
                with visitors.away():
                    self._wait_until_alone()
                    self.series += holdings(self._daemon, time.monotonic() - self._begin_s)
            self._listen_until(end)

    @property
    def _usual(self) -> bool:
        """Whether the settings are those of the beginning: only then do counts compare."""
        return self._name in ("nothing new", "another rate", "all as it was")

    def _reload(self) -> None:
        change = next(self._changes)
        self._name = change.name
        self._daemon.config.write_text(change.text)
        before = self.tally.events[change.event]
        self._daemon.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + _ANSWER_S
        while self.tally.events[change.event] == before:
            if time.monotonic() > deadline:
                self.tally.complain(f"{change.name}: no event {change.event} within {_ANSWER_S:g} s")
                return
            self._take()
        self.reloads += 1

    def _wait_until_alone(self) -> None:
        """Each subscriber costs publish a descriptor: wait until it has noticed that the others are gone."""
        deadline = time.monotonic() + _ANSWER_S
        self.tally.health = None
        while self.tally.health is None or self.tally.health.subscribers > 1:
            if time.monotonic() > deadline:
                self.tally.complain(f"subscribers that have gone are still counted after {_ANSWER_S:g} s")
                return
            self._take()

    def _listen_until(self, end_s: float) -> None:
        while time.monotonic() < end_s:
            self._take()

    def _take(self) -> None:
        received = self._subscriber.receive(_LONGEST_WAIT_S)
        if received is not None:
            self.tally.take(received)
        elif self._daemon.process.poll() is not None:
            sys.exit(f"the daemon ended; its log:\n{self._daemon.output}")

    def end(self) -> int:
        """Stop the daemon and hear its last words; returns the exit code."""
        self._daemon.process.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + _ANSWER_S
        while time.monotonic() < deadline:
            received = self._subscriber.receive(_LONGEST_WAIT_S)
            if received is not None:
                self.tally.take(received)
            elif self._daemon.process.poll() is not None:
                break
        self.tally.close()
        return self._daemon.wait(_ANSWER_S)


def judge(report: Report, soak: Soak, visitors: Visitors, found: Sequence[Trend], code: int) -> list[str]:
    """Put the figures into the report; returns what did not hold."""
    wrong = list(soak.tally.complaints)
    wrong += [f"{it.name}: counts changed: {it}" for it in found if not it.constant]
    wrong += soak.tally.troubles
    wrong += [] if code == 0 else [f"the daemon ended with {code}"]
    replaced = soak.tally.events["process-replaced"]
    report.add(
        "predictions", sum(count for topic, count in soak.tally.seen.items() if "predictions" in topic), at_least=1
    )
    report.add("reloads", soak.reloads, at_least=1)
    report.add("visits of subscribers", visitors.visits, at_least=1)
    report.add("of these heard nothing", visitors.silent, at_most=0)
    report.add("processes replaced", replaced, at_most=0)
    report.add("warnings and errors among the events", len(soak.tally.troubles), at_most=0)
    if found:
        steepest = max(found, key=lambda it: it.slope_mb_per_h)
        report.add(f"steepest memory ({steepest.name})", steepest.slope_mb_per_h, "MB/h", at_most=_MOST_MB_PER_H)
        report.add("processes whose counts changed", sum(not it.constant for it in found), at_most=0)
    report.add("complaints", len(soak.tally.complaints), at_most=0)
    return wrong


def main(argv: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = harness.arguments_of("A long run of the whole daemon, watched from outside.")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--reload-s", type=float, default=15.0, help="seconds between two reloads")
    parser.add_argument("--clip", type=Path, help="a video to decode; without, all scenes are drawn")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the report as a page")
    arguments = parser.parse_args(argv)
    report = Report("soak", arguments)
    with (
        harness.folder_for_run() as folder,
        harness.running(folder, load.settings(arguments.clip)) as daemon,
        daemon.subscriber() as subscriber,
    ):
        harness.wait_for_prediction(daemon, subscriber)
        soak = Soak(daemon, subscriber, arguments)
        with Visitors(daemon.endpoint) as visitors:
            soak.run(visitors)
        code = soak.end()
    found = trends(soak.series, warm_up_s=warm_up_of(arguments.minutes * 60), guests=_GUESTS)
    wrong = judge(report, soak, visitors, found, code)
    oldest = {f"oldest frame of {name}, ms": age for name, age in soak.tally.oldest_ms.items()}
    facts = {"minutes": arguments.minutes, "reloads": soak.reloads, "visits": visitors.visits, **oldest}
    report.details |= {"trends": [it._asdict() for it in found], "wrong": wrong, "events": dict(soak.tally.events)}
    if arguments.page is not None:
        title = f"edged: {arguments.minutes:g} minutes of soak"
        arguments.page.write_text(page(title, facts, found, soak.series, wrong), encoding="utf-8")
    for text in wrong:
        print(text, file=sys.stderr)
    return report.finish() or int(arguments.check and bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
