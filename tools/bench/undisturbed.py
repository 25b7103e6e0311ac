# SPDX-License-Identifier: Apache-2.0
"""Undisturbed: a paced source beside subscribers that have stopped reading.

First a time without them, then a time with them: processes that subscribed to everything and were stopped by a signal.
A subscriber that reads watches the rate, the ages and the publisher's memory throughout.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edged.messages import Prediction
from tools.bench import harness
from tools.bench.report import Report

_FPS = 30.0
_SETTLE_S = 2.0
_SUBSCRIBE = """
import sys, zmq
socket = zmq.Context().socket(zmq.SUB)
socket.subscribe("")
socket.connect(sys.argv[1])
socket.recv_multipart()
print("subscribed", flush=True)
socket.poll()
"""


@contextmanager
def stuck_subscribers(endpoint: str, count: int) -> Iterator[None]:
    """Processes that have subscribed, received something, and then stand still."""
    stuck: list[subprocess.Popen[bytes]] = []
    try:
        for _ in range(count):
            command = [sys.executable, "-c", _SUBSCRIBE, endpoint]
            stuck.append(subprocess.Popen(command, stdout=subprocess.PIPE))
        for process in stuck:
            assert process.stdout is not None
            process.stdout.readline()
            process.send_signal(signal.SIGSTOP)
        yield
    finally:
        for process in stuck:
            process.kill()
            process.communicate()


def watch(
    arguments: argparse.Namespace, report: Report, daemon: harness.Daemon, subscriber: harness.Subscriber, when: str
) -> None:
    """Rate, ages and memory over a time."""
    publish = daemon.children("publish")[0]
    before = harness.memory_of(publish).resident
    messages = harness.receive_for(daemon, subscriber, arguments.seconds)
    growth = harness.memory_of(publish).resident - before
    predictions = [message for message in messages if isinstance(message, Prediction)]
    p50, p99 = np.percentile([message.age_ms for message in predictions], (50, 99))
    rate = harness.rate_hz(predictions)
    report.add(f"{when}: rate", rate, "frames/s", at_least=_FPS - 0.05, at_most=_FPS + 0.05)
    report.add(f"{when}: age p50", float(p50), "ms")
    report.add(f"{when}: age p99", float(p99), "ms")
    report.add(f"{when}: memory of publish", before + growth, "MB")
    report.add(f"{when}: memory growth of publish", growth, "MB", at_most=4.0)


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("A paced source beside subscribers that stopped reading.")
    parser.add_argument("--model", choices=harness.MODELS, default="demo")
    parser.add_argument("--seconds", type=float, default=20.0, help="without, and again with them")
    parser.add_argument("--stuck", type=int, default=1, help="subscribers that stop reading")
    arguments = parser.parse_args(argv)
    report = Report("undisturbed", arguments)
    with harness.folder_for_run() as folder:
        settings = {
            "sources": [{"name": "a", "uri": f"synthetic://shapes?fps={_FPS:g}&seed=1"}],
            "model": {"spec": str(harness.model_spec(arguments.model, folder))},
        }
        with harness.running(folder, settings) as daemon, daemon.subscriber() as subscriber:
            harness.wait_for_prediction(daemon, subscriber)
            harness.receive_for(daemon, subscriber, min(_SETTLE_S, arguments.seconds))
            watch(arguments, report, daemon, subscriber, "without")
            with stuck_subscribers(daemon.endpoint, arguments.stuck):
                harness.receive_for(daemon, subscriber, min(_SETTLE_S, arguments.seconds))
                watch(arguments, report, daemon, subscriber, "with")
            if subscriber.lost:
                sys.exit(f"messages lost on the way here: {dict(subscriber.lost)}")
            daemon.terminate()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())
