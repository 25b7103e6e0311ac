# SPDX-License-Identifier: Apache-2.0
"""The whole daemon when CUDA calls fail in its infer process: replaced, or ended with the right exit code."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from edged.messages import Health, Prediction
from edged.stages.publish.client import Subscriber
from tools.gpu.daemon import Running, settings
from tools.gpu.results import attempt
from tools.gpu.sabotage import Fault, sabotaged

FRAMES = 150
_REPLACED = "the infer process"
_LIMIT_S = 60.0
_ALWAYS = 99


class _Seen:
    """What a subscriber learned of a daemon until it ended.

    Attributes:
        frames: how often each source's frame was published.
        health: the last health message.
        captures: capture processes at the first prediction, and at one after infer was replaced.
    """

    def __init__(self, running: Running, subscriber: Subscriber) -> None:
        self.frames: Counter[tuple[str, int]] = Counter()
        self.health: Health | None = None
        self.captures: list[list[int]] = []
        daemon = running.daemon
        end = time.monotonic() + _LIMIT_S
        while time.monotonic() < end:
            received = subscriber.receive(0.5)
            if received is None:
                if daemon.process.poll() is not None:
                    return
            elif isinstance(received.message, Prediction):
                self.frames[received.message.source, received.message.frame_id] += 1
                if len(self.captures) < 2 and bool(self.captures) == (_REPLACED in daemon.output):
                    self.captures.append(sorted(daemon.children("capture")))
            elif isinstance(received.message, Health):
                self.health = received.message

    @property
    def captures_ran_on(self) -> bool:
        """Whether no capture process was replaced together with infer."""
        return len(self.captures) == 2 and len(self.captures[0]) == 2 and set(self.captures[1]) <= {*self.captures[0]}


def replaced(folder: Path, name: str, nth: int, code: int) -> dict[str, Any]:
    """The GPU is lost once, in the middle of two lossless sources: a new process goes on, what failed is counted."""
    sources = [
        {"name": source, "uri": f"synthetic://shapes?fps=1000&seed={seed}&frames={FRAMES}", "mode": "lossless"}
        for seed, source in enumerate(("a", "b"))
    ]
    with tempfile.TemporaryDirectory(prefix="fault-") as marks:
        fault = Fault(name, nth, code, 1, Path(marks))
        content = settings(folder / "state", "tensorrt", sources, wait_for_subscribers=1)
        with sabotaged(fault):
            running = Running(content, ["--exit-when-done"])
        with running, Subscriber(running.daemon.endpoint, [""], timeout_s=_LIMIT_S) as subscriber:
            seen = _Seen(running, subscriber)
            exit_code = running.daemon.wait(10)
            output = running.daemon.output
        fired = fault.fired
    assert seen.health is not None, output
    failed = sum(source.dropped.failed for source in seen.health.sources.values())
    published = sum(source.published for source in seen.health.sources.values())
    whole = len(seen.frames) == published == 2 * FRAMES - failed and set(seen.frames.values()) == {1}
    ok = exit_code == 0 and fired == 1 and whole and failed > 0 and seen.captures_ran_on
    return {
        "ok": ok and output.count(_REPLACED) == 1 and "Traceback" not in output,
        "target": "replaced once, sources run on, failed frames counted and never published",
        "code": exit_code,
        "published": published,
        "seen": len(seen.frames),
        "failed": failed,
        "captures_ran_on": seen.captures_ran_on,
        "said": output[-1500:],
    }


def ended(folder: Path, name: str, nth: int, code: int, expected: int) -> dict[str, Any]:
    """The same call fails in every infer process: the daemon ends, with the exit code that fits."""
    sources = [{"name": "a", "uri": "synthetic://shapes?fps=60"}]
    with tempfile.TemporaryDirectory(prefix="fault-") as marks:
        fault = Fault(name, nth, code, _ALWAYS, Path(marks))
        begin = time.monotonic()
        with sabotaged(fault):
            running = Running(settings(folder / "state", "tensorrt", sources))
        with running:
            exit_code = running.daemon.wait(_LIMIT_S)
            output = running.daemon.output
        fired = fault.fired
    last = (output.strip().splitlines() or [""])[-1]
    return {
        "ok": exit_code == expected and fired > 0 and f", {code})" in last and "Traceback" not in output,
        "target": f"exit {expected}, one line that says why",
        "code": exit_code,
        "processes": fired,
        "seconds": round(time.monotonic() - begin, 1),
        "line": last,
        "said": output[-1500:],
    }


def lost(folder: Path, results: dict[str, Any]) -> None:
    """All of it; counts of uses are those of a daemon with batches of up to four and two slots, load included."""
    for name, nth, code in (("cuGraphLaunch", 40, 700), ("cuEventQuery", 30, 719)):
        attempt(results, f"daemon-{name}-{code}-once", partial(replaced, folder, name, nth, code))
    for name, nth, code, expected in (
        ("cuMemAlloc", 1, 2, 69),
        ("cuGraphLaunch", 14, 719, 75),
        ("cuMemcpyDtoHAsync", 3, 1, 70),
    ):
        attempt(results, f"daemon-{name}-{code}-always", partial(ended, folder, name, nth, code, expected))
