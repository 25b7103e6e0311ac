# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks share: a real daemon, and what can be seen of it from outside.

Benchmarks are run as modules from the root of the repository: ``python -m tools.bench.start --help``.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

# The daemon under test and the real detector are the tests' own, so that tests and benchmarks cannot drift apart.
sys.path.append(str(Path(__file__).resolve().parents[2] / "tests"))

from support.daemon import ASSETS, Daemon, assert_conserved
from support.ports import free_port
from support.yolox import data_folder, write_spec

from edged.messages import Message, Prediction, Stats
from edged.stages.publish.client import Received, Subscriber
from tools.bench.report import Report

__all__ = ["Daemon", "Subscriber", "assert_conserved", "free_port"]

MODELS = ("demo", "yolox")
Measure = Callable[[argparse.Namespace, Report, Path], None]
"""Measures something in a folder and adds what it finds to a report."""


def arguments_of(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--output", type=Path, metavar="FILE", help="write everything measured as JSON")
    parser.add_argument("--check", action="store_true", help="end with 1 if a target is missed")
    return parser


def run(name: str, parser: argparse.ArgumentParser, argv: Sequence[str] | None, measure: Measure) -> int:
    """Do what the command line asks for in a folder that is removed in the end; returns the exit code."""
    arguments = parser.parse_args(argv)
    report = Report(name, arguments)
    with folder_for_run() as folder:
        measure(arguments, report, folder)
    return report.finish()


def run_models(
    name: str,
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    measure: Callable[[argparse.Namespace, Report, Path, str], None],
) -> int:
    """The same with each model that ``--model``, which is added, asks for, in a folder of its own."""
    parser.add_argument("--model", choices=(*MODELS, "both"), default="both")
    arguments = parser.parse_args(argv)
    report = Report(name, arguments)
    for model in MODELS if arguments.model == "both" else (arguments.model,):
        with folder_for_run() as folder:
            measure(arguments, report, folder, model)
    return report.finish()


def needed_data() -> Path:
    """The shared data; ends the benchmark where it is absent."""
    folder = data_folder()
    if not folder.is_dir():
        sys.exit(f"needs the shared data, which is not in {folder}; set SHARED_DATA_DIR")
    return folder


def model_spec(model: str, folder: Path, **values: Any) -> Path:
    """A model spec: the ``demo`` model's own, or ``yolox`` written into a folder (see `support.yolox.write_spec`)."""
    return ASSETS / "shapes.toml" if model == "demo" else write_spec(folder, needed_data(), **values)


@contextmanager
def folder_for_run() -> Iterator[Path]:
    """A folder that is removed in the end; its path is short enough for a socket (107 bytes)."""
    folder = Path(tempfile.mkdtemp(prefix="edged-bench-", dir="/tmp"))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def running(folder: Path, settings: Mapping[str, Any], arguments: Sequence[str] = ()) -> Iterator[Daemon]:
    """A started daemon in a folder; in the end it is stopped, whatever happened."""
    daemon = Daemon(folder, settings, arguments)
    daemon.log.unlink(missing_ok=True)
    try:
        yield daemon.start()
    finally:
        daemon.destroy()


def receive(daemon: Daemon, subscriber: Subscriber, timeout_s: float = 60.0) -> Message:
    """The next message of any kind; ends the benchmark with the daemon's log if none comes."""
    received = subscriber.receive(timeout_s)
    if received is None:
        sys.exit(f"no message within {timeout_s:g} s; the daemon's log:\n{daemon.output}")
    return received.message


def receive_for(daemon: Daemon, subscriber: Subscriber, seconds: float) -> list[Message]:
    """All messages of a time."""
    messages: list[Message] = []
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        received = subscriber.receive(left)
        if received is not None:
            messages.append(received.message)
        elif daemon.process.poll() is not None:
            sys.exit(f"the daemon ended; its log:\n{daemon.output}")
    return messages


def until_ended(daemon: Daemon, subscriber: Subscriber) -> Iterator[Received]:
    """Everything that still comes from a daemon that ends by itself."""
    ended = False
    while (received := subscriber.receive(0.5)) is not None or not ended:
        ended = daemon.process.poll() is not None
        if received is not None:
            yield received


def wait_for_prediction(daemon: Daemon, subscriber: Subscriber) -> Prediction:
    """The first prediction."""
    while not isinstance(message := receive(daemon, subscriber), Prediction):
        continue
    return message


def wait_for_stats(daemon: Daemon, subscriber: Subscriber) -> Stats:
    """The next statistics."""
    while not isinstance(message := receive(daemon, subscriber), Stats):
        continue
    return message


def published_s(message: Prediction) -> float:
    """When a prediction was published, on CLOCK_MONOTONIC, seconds: what the daemon itself measured, to 1 µs."""
    return message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3


def rate_hz(messages: Sequence[Prediction]) -> float:
    """Predictions a second: the intervals between publications over their span."""
    times = [published_s(message) for message in messages]
    return (len(times) - 1) / (max(times) - min(times)) if len(times) > 1 else 0.0


def family(daemon: Daemon) -> dict[str, int]:
    """Process ids of a running daemon by name: ``supervisor``, ``infer``, ``publish``, ``capture:<source>``."""
    found = {"supervisor": daemon.process.pid}
    for role in ("infer", "publish"):
        found |= dict.fromkeys([role], *daemon.children(role)[:1])
    for pid in daemon.children("capture"):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
        found[f"capture:{words[words.index('capture') + 1]}"] = pid
    return found


def cpu_s(pid: int) -> float:
    """CPU time of another process with all its threads, seconds, to the nanosecond.

    The clock's number is made as the kernel's MAKE_PROCESS_CPUCLOCK does; ``/proc/PID/stat`` counts in 10 ms.
    """
    return time.clock_gettime((~pid << 3) | 2)


class Memory(NamedTuple):
    """Memory of a process, MB.

    Attributes:
        own: proportional set size of everything but edged's rings. Pages that other programs share count less, those of
            the benchmark itself included.
        rings: proportional set size of the rings.
        resident: all that is resident but the rings: an upper bound, whatever else runs on the machine.
    """

    own: float
    rings: float
    resident: float


def memory_of(pid: int) -> Memory:
    """Memory of a process now, from its ``smaps``."""
    sums = {(ring, what): 0 for ring in (False, True) for what in ("Pss:", "Rss:")}
    ring = False
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            ring = len(words) > 5 and words[5].startswith("/memfd:edged-")
        elif words[0] in ("Pss:", "Rss:"):
            sums[ring, words[0]] += int(words[1])
    own, rings, resident = (sums[key] * 1024 / 1e6 for key in ((False, "Pss:"), (True, "Pss:"), (False, "Rss:")))
    return Memory(own, rings, resident)
