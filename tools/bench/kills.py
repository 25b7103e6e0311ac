# SPDX-License-Identifier: Apache-2.0
"""Power off: the daemon is killed with SIGKILL at random moments, its start included, and started again each time.

A subscriber that was there from the beginning must see a new boot id and a first message within five seconds of every
start, and no kill may leave a process, a listener on the socket, a named piece of shared memory, or anything that stops
the next start. All times are from the start of the process, Python's own start included.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edged.messages import Prediction
from tools.bench import harness
from tools.bench.report import Report, Spread

_LIMIT_S = 5.0
_LONGEST_S = 30.0
_GONE_S = 2.0
_EARLY_SHARE = 0.3
"""Part of the kills that come before the daemon has published anything."""


class Victim:
    """A daemon that is killed again and again, and a subscriber that stays.

    Args:
        daemon: not started.
        subscriber: connected to its endpoint.
        rng: decides when.
    """

    def __init__(self, daemon: harness.Daemon, subscriber: harness.Subscriber, rng: random.Random) -> None:
        self.boots: set[str] = set()
        self.first_any_s: list[float] = []
        self.first_prediction_s: list[float] = []
        self.early = 0
        self.wrong: list[str] = []
        self._daemon = daemon
        self._subscriber = subscriber
        self._rng = rng

    def life(self, number: int) -> None:
        """Start, perhaps wait until it publishes, kill, look at what is left."""
        early = self._rng.random() < _EARLY_SHARE
        begin = time.monotonic()
        self._daemon.start()
        if early:
            self.early += 1
            self._listen_until(begin + self._rng.uniform(0.02, 2.0))
        else:
            self.await_messages(begin, number)
            self._listen_until(time.monotonic() + self._rng.uniform(0.0, 0.3))
        family = {self._daemon.process.pid, *self._daemon.children()}
        self._daemon.process.send_signal(signal.SIGKILL)
        self._daemon.wait(_GONE_S)
        self._look_after(number, family)

    def await_messages(self, begin: float, number: int) -> None:
        """The first message of any kind, and the first prediction, of a boot that was not there before."""
        first_s = prediction_s = None
        boot = ""
        while prediction_s is None and time.monotonic() < begin + _LONGEST_S:
            received = self._subscriber.receive(0.2)
            if received is None or received.message.boot in self.boots:
                continue
            boot = received.message.boot
            first_s = first_s or time.monotonic() - begin
            if isinstance(received.message, Prediction):
                prediction_s = time.monotonic() - begin
        self.boots.add(boot)
        self.first_any_s.append(first_s or _LONGEST_S)
        self.first_prediction_s.append(prediction_s or _LONGEST_S)
        if prediction_s is None:
            self.wrong.append(
                f"life {number}: nothing within {_LONGEST_S:g} s; the log:\n{self._daemon.output[-2000:]}"
            )

    def _listen_until(self, end: float) -> None:
        while (left := end - time.monotonic()) > 0:
            received = self._subscriber.receive(left)
            if received is not None:
                self.boots.add(received.message.boot)

    def _look_after(self, number: int, family: set[int]) -> None:
        end = time.monotonic() + _GONE_S
        while (left := self._left(family)) and time.monotonic() < end:
            time.sleep(0.01)
        if left:
            self.wrong.append(f"life {number}: still there after {_GONE_S:g} s: {sorted(left)}")
        named = [entry.name for entry in Path("/dev/shm").iterdir() if "edged" in entry.name]
        if named:
            self.wrong.append(f"life {number}: left in /dev/shm: {named}")

    def _left(self, family: set[int]) -> set[int]:
        """Processes of a life that is over: those that were its children, and those that say so."""
        return {pid for pid in family if Path(f"/proc/{pid}").exists()} | set(self._daemon.children())


def kill_often(arguments: argparse.Namespace, report: Report, folder: Path) -> None:
    """All kills, and one orderly life in the end."""
    settings = {
        "sources": [{"name": f"s{number}", "uri": f"synthetic://shapes?seed={number}&fps=10"} for number in (1, 2)]
    }
    daemon = harness.Daemon(folder, settings)
    with harness.Subscriber(daemon.endpoint) as subscriber:
        victim = Victim(daemon, subscriber, random.Random(arguments.seed))
        before = len(os.listdir("/proc/self/fd"))
        try:
            for number in range(1, arguments.times + 1):
                victim.life(number)
                if number % 20 == 0:
                    print(f"… {number}, slowest {max(victim.first_any_s, default=0):.2f} s", flush=True)
            grown = len(os.listdir("/proc/self/fd")) - before
            begin = time.monotonic()
            daemon.start()
            victim.await_messages(begin, arguments.times + 1)
            code = daemon.terminate()
        finally:
            daemon.destroy()
    left = sorted(entry.name for entry in folder.iterdir() if "predictions.sock" in entry.name)
    report.add("kills", arguments.times)
    report.add("of these before the first message", victim.early)
    for name, times in (("message", victim.first_any_s), ("prediction", victim.first_prediction_s)):
        report.add(f"start to first {name}", Spread.of(times), "s", at_most=_LIMIT_S)
        report.add(f"start to first {name}, p99", float(np.percentile(times, 99)), "s", at_most=_LIMIT_S)
        report.add(f"start to first {name}, slowest", max(times), "s", at_most=_LIMIT_S)
    report.add("boot ids seen", len(victim.boots), at_least=len(victim.first_any_s))
    report.add("left behind or missing", len(victim.wrong), at_most=0)
    report.add("descriptors that the subscriber gained", grown, at_most=2)
    report.add("orderly end: exit code", code, at_most=0)
    report.add("orderly end: sockets and locks left", len(left), at_most=0)
    report.details |= {"wrong": victim.wrong, "first_s": victim.first_any_s}
    for text in victim.wrong[:10]:
        print(text, file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = harness.arguments_of("The daemon is killed at random moments and started again.")
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    return harness.run("kills", parser, argv, kill_often)


if __name__ == "__main__":
    sys.exit(main())
