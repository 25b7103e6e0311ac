# SPDX-License-Identifier: Apache-2.0
"""Unwelcome: a tcp endpoint with CURVE, and everybody who has no business there.

Rounds with and without unwelcome connections alternate, while a welcome subscriber receives predictions at a rate well
below what the machine can do; then two hundred of them at once; then a client's key is revoked while it listens.
Nothing may be delivered to anybody unwelcome, the publish process may not grow, they must be counted and mentioned in
the log a few times, and the welcome subscriber's 99th percentile must not change. The crowd runs on the same
cores as the daemon, so what it costs itself counts as well: it comes slowly.
"""

from __future__ import annotations

import argparse
import json
import re
import select
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edged.messages import Event, Prediction
from edged.stages.publish.security import create_keys, load_client_curve
from tools.bench import harness
from tools.bench.report import Report, Spread

_FPS = 25.0
_AT_ONCE = 200
_MOST_CHANGE = 0.05
_LONGEST_S = 60.0
_REVOKED_S = 2.5


class Crowd:
    """The process of the unwelcome; see `tools.bench.storm_attack`."""

    def __init__(self, endpoint: str, server_key: str) -> None:
        command = [sys.executable, "-m", "tools.bench.storm_attack", endpoint, server_key]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.said: dict[str, int] = {"made": 0, "delivered": 0}

    def begin(self, command: str) -> None:
        """Tell it what to do; does not wait."""
        assert self._process.stdin is not None
        self._process.stdin.write(command + "\n")
        self._process.stdin.flush()

    def done(self) -> bool:
        """Whether it has done it."""
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], 0)[0]:
            return False
        self.said = json.loads(self._process.stdout.readline())
        return True

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Listener:
    """The welcome subscriber."""

    def __init__(self, subscriber: harness.Subscriber) -> None:
        self.events: list[Event] = []
        self._subscriber = subscriber

    def record(self, seconds: float) -> tuple[list[float], list[float]]:
        """Ages at publish, and times from publish to arrival, of the predictions of a time, milliseconds."""
        ages, ways = [], []
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            received = self._subscriber.receive(left)
            if received is not None and isinstance(received.message, Prediction):
                ages.append(received.message.age_ms)
                ways.append((time.monotonic() - harness.published_s(received.message)) * 1e3)
            elif received is not None and isinstance(received.message, Event):
                self.events.append(received.message)
        return ages, ways

    @property
    def lost(self) -> int:
        """Messages lost so far."""
        return sum(self._subscriber.lost.values())


def make_keys(folder: Path) -> None:
    """Of the daemon, of a welcome client and of one whose key is going to be revoked."""
    for name in ("daemon", "welcome", "revoked"):
        create_keys(folder, name)
    (folder / "authorized").mkdir()
    for name in ("welcome", "revoked"):
        shutil.copy(folder / f"{name}.key", folder / "authorized")


def settings(folder: Path, endpoint: str, metrics: str) -> dict[str, Any]:
    """A paced source, CURVE over tcp, metrics."""
    return {
        "sources": [{"name": "a", "uri": f"synthetic://shapes?seed=1&cache=32&fps={_FPS:g}"}],
        "publish": {"bind": [f"ipc://{folder}/predictions.sock", endpoint]},
        "publish.curve": {
            "secret_key_file": str(folder / "daemon.key_secret"),
            "authorized_keys_dir": str(folder / "authorized"),
        },
        "http": {"bind": metrics},
    }


def failures(metrics: str) -> int:
    """Connections without a handshake, as the metrics tell."""
    with urllib.request.urlopen(f"http://{metrics}/metrics", timeout=5) as answer:
        found = re.search(r"^edged_handshake_failures_total (\S+)$", answer.read().decode(), re.MULTILINE)
    return int(float(found[1])) if found else 0


def rounds(arguments: argparse.Namespace, report: Report, listener: Listener, crowd: Crowd) -> None:
    """With and without, in turns."""
    found: dict[str, list[tuple[float, float]]] = {"quiet": [], "storm": []}
    for number in range(2 * arguments.rounds):
        kind = ("quiet", "storm", "storm", "quiet")[number % 4]
        if kind == "storm":
            crowd.begin(f"for {arguments.seconds:g} {arguments.rate:g}")
        ages, ways = listener.record(arguments.seconds)
        while kind == "storm" and not crowd.done():
            listener.record(0.1)
        found[kind].append((float(np.percentile(ages, 99)), float(np.percentile(ways, 99))))
    for index, name in enumerate(("age at publish", "publish to subscriber")):
        quiet, storm = ([each[index] for each in found[kind]] for kind in ("quiet", "storm"))
        report.add(f"{name}, p99, nobody else", Spread.of(quiet), "ms")
        report.add(f"{name}, p99, unwelcome come", Spread.of(storm), "ms")
        ratios = [with_ / without for with_, without in zip(storm, quiet, strict=True)]
        report.add(f"{name}, p99, ratio", Spread.of(ratios), at_most=1 + _MOST_CHANGE)
    report.details["rounds_p99_ms"] = found


def at_once(report: Report, listener: Listener, crowd: Crowd, pid: int) -> None:
    """All together, held until their handshakes time out."""
    before = harness.memory_of(pid).resident
    most = before
    ages: list[float] = []
    crowd.begin(f"at-once {_AT_ONCE}")
    end = time.monotonic() + _LONGEST_S
    while not crowd.done() and time.monotonic() < end:
        ages += listener.record(0.25)[0]
        most = max(most, harness.memory_of(pid).resident)
    listener.record(1.0)
    report.add(f"{_AT_ONCE} at once: age at publish, p99", float(np.percentile(ages, 99)), "ms")
    report.add(f"{_AT_ONCE} at once: memory of publish, most above before", most - before, "MB", at_most=20.0)
    after = harness.memory_of(pid).resident
    report.add(f"{_AT_ONCE} at once: memory of publish afterwards, above before", after - before, "MB", at_most=5.0)


def revoke(report: Report, listener: Listener, folder: Path, endpoint: str) -> None:
    """A client that listens, and whose key is taken away."""
    curve = load_client_curve(folder / "daemon.key", folder / "revoked.key_secret")
    with harness.Subscriber(endpoint, ("v1/predictions/",), curve=curve) as client:
        report.add("revoked: received before", int(client.receive(_LONGEST_S) is not None), at_least=1)
        (folder / "authorized/revoked.key").unlink()
        begin = last = time.monotonic()
        while time.monotonic() < begin + 2 * _REVOKED_S:
            if client.receive(0.05) is not None:
                last = time.monotonic()
            listener.record(0.02)
        report.add("revoked: until the last message", last - begin, "s", at_most=_REVOKED_S)
    report.add("revoked: the welcome one still receives", len(listener.record(2.0)[0]), at_least=1)


def measure(arguments: argparse.Namespace, report: Report, folder: Path) -> None:
    """All of it on one daemon."""
    make_keys(folder)
    endpoint, metrics = f"tcp://127.0.0.1:{harness.free_port()}", f"127.0.0.1:{harness.free_port()}"
    server_key = load_client_curve(folder / "daemon.key", folder / "welcome.key_secret").server.decode()
    curve = load_client_curve(folder / "daemon.key", folder / "welcome.key_secret")
    with (
        harness.running(folder, settings(folder, endpoint, metrics)) as daemon,
        harness.Subscriber(endpoint, curve=curve) as subscriber,
    ):
        harness.wait_for_prediction(daemon, subscriber)
        listener = Listener(subscriber)
        listener.record(2.0)
        family = harness.family(daemon)
        memory = harness.memory_of(family["publish"]).resident
        crowd = Crowd(endpoint, server_key)
        try:
            rounds(arguments, report, listener, crowd)
            lost = listener.lost
            at_once(report, listener, crowd, family["publish"])
        finally:
            crowd.close()
        report.add("unwelcome connections made", crowd.said["made"])
        report.add("of these counted", failures(metrics), at_least=0.5 * crowd.said["made"])
        report.add("delivered to them", crowd.said["delivered"], at_most=0)
        report.add("lost on the way to the welcome one", lost, at_most=0)
        revoke(report, listener, folder, endpoint)
        report.add(
            "memory of publish: growth", harness.memory_of(family["publish"]).resident - memory, "MB", at_most=8.0
        )
        report.add("processes replaced", int(harness.family(daemon) != family), at_most=0)
        lines = daemon.output.splitlines()
        said = [line for line in lines if "refused" in line or "without a handshake" in line]
        report.add("lines of log about them", len(said), at_least=2, at_most=arguments.rounds * arguments.seconds + 20)
        report.add("exit code", daemon.terminate(), at_most=0)


def main(argv: Sequence[str] | None = None) -> int:
    """Run it."""
    parser = harness.arguments_of("A tcp endpoint with CURVE, and everybody who has no business there.")
    parser.add_argument("--rounds", type=int, default=12, help="of each kind")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each round")
    parser.add_argument("--rate", type=float, default=10.0, help="unwelcome connections a second")
    return harness.run("storm", parser, argv, measure)


if __name__ == "__main__":
    sys.exit(main())
