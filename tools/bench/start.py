# SPDX-License-Identifier: Apache-2.0
"""Fresh machine: seconds from the start of the daemon's process to the first prediction that a subscriber receives.

Cold: an empty state directory, so that the model is wrapped and the batch size measured. Warm: as left by the run
before. The files themselves are in the page cache both times.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from pathlib import Path

import zmq

from edged.messages import PREDICTIONS
from tools.bench import harness
from tools.bench.report import Report, Spread

_LIMIT_S = 60
_TARGET_S = 2.5


def first_prediction_s(folder: Path, spec: Path, context: zmq.Context[zmq.Socket[bytes]]) -> float:
    """Seconds from a start to the first prediction, with every setting at its default."""
    settings = {
        "sources": [{"name": "a", "uri": "synthetic://shapes?seed=1"}],
        "model": {"spec": str(spec)},
        "engine": {"max_batch": None},
        "publish": {"wait_for_subscribers": 1},
    }
    with context.socket(zmq.SUB) as socket:
        # The subscriber is there first and tries again at once: what is measured is the daemon, not its back-off.
        socket.reconnect_ivl = 5
        socket.linger = 0
        socket.subscribe(PREDICTIONS)
        socket.connect(f"ipc://{folder}/predictions.sock")
        start = time.monotonic()
        with harness.running(folder, settings) as daemon:
            if not socket.poll(_LIMIT_S * 1000):
                sys.exit(f"no prediction within {_LIMIT_S} s; the daemon's log:\n{daemon.output}")
            took = time.monotonic() - start
            daemon.terminate()
    return took


def measure(arguments: argparse.Namespace, report: Report, folder: Path, model: str) -> None:
    """Alternating cold and warm starts of one model."""
    spec = harness.model_spec(model, folder)
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    with zmq.Context() as context:
        for _ in range(arguments.runs):
            shutil.rmtree(folder / "state", ignore_errors=True)
            for kind in times:
                times[kind].append(first_prediction_s(folder, spec, context))
    for kind, took in times.items():
        report.add(f"{model}, {kind} cache", Spread.of(took), "s", at_most=_TARGET_S)
        report.add(f"{model}, {kind} cache, slowest", max(took), "s")
    report.details[model] = times


def main(argv: list[str] | None = None) -> int:
    """Run the benchmark."""
    parser = harness.arguments_of("Seconds from the start to the first prediction.")
    parser.add_argument("--runs", type=int, default=10)
    return harness.run_models("start", parser, argv, measure)


if __name__ == "__main__":
    sys.exit(main())
