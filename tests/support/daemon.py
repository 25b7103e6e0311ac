# SPDX-License-Identifier: Apache-2.0
"""A real ``edged run`` as a child process, with all that a test needs to watch it; nothing of it outlives the test."""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from edged.messages import Health, Prediction
from edged.stages.publish.client import Received, Subscriber

ASSETS = Path(__file__).resolve().parents[2] / "edged" / "assets"
START_S = 20.0
_PR_SET_PDEATHSIG = 1
# Frame ring and output ring at batches of up to four. What is neither published nor counted as lost piles up here.
MOST_IN_FLIGHT = 3 * 4 + 4 * 4
_CHILD = "edged.runtime.child"


def toml(settings: Mapping[str, Any]) -> str:
    """Settings as TOML; JSON's strings, numbers and arrays are TOML's as well. None leaves a key at its default."""
    lines: list[str] = []
    for section, values in settings.items():
        if section == "sources":
            for source in values:
                lines += ["[[sources]]", *(f"{key} = {json.dumps(value)}" for key, value in source.items())]
            continue
        lines += [
            f"[{section}]",
            *(f"{key} = {json.dumps(value)}" for key, value in values.items() if value is not None),
        ]
    return "\n".join(lines) + "\n"


class Ended(NamedTuple):
    """How a daemon ended: its exit code, and how long after it was asked to (seconds)."""

    code: int
    seconds: float


def _end_with_the_tests() -> None:
    """Have the kernel kill this process when the test run dies, which leaves no time for clearing up."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


class Daemon:
    """One daemon in a folder of its own.

    Args:
        folder: for its settings, state and socket; its path must be short enough for a socket.
        settings: sections to add to, or to replace in, the defaults for tests (the demo model, two synthetic sources).
        arguments: further arguments of ``edged run``.
    """

    def __init__(self, folder: Path, settings: Mapping[str, Any], arguments: Sequence[str] = ()) -> None:
        self.folder = folder
        self.endpoint = f"ipc://{folder}/predictions.sock"
        self.config = folder / "edged.toml"
        self.log = folder / "log.txt"
        content: dict[str, Any] = {
            "daemon": {"name": "test", "state_dir": str(folder / "state"), "log_format": "text"},
            "sources": [
                {"name": "north", "uri": "synthetic://shapes?seed=1"},
                {"name": "south", "uri": "synthetic://shapes?seed=2"},
            ],
            "model": {"spec": str(ASSETS / "shapes.toml")},
            "engine": {"max_batch": 1},
            "publish": {"bind": [self.endpoint]},
            "http": {"bind": ""},
        }
        for section, values in settings.items():
            content[section] = values if section == "sources" else {**content.get(section, {}), **values}
        self.config.write_text(toml(content))
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Daemon:
        """Start it; does not wait until it is ready."""
        command = [sys.executable, "-m", "edged", "run", "--config", str(self.config), *self._arguments]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
        with self.log.open("ab") as log:
            # A process group of its own, as a shell makes one: Ctrl-C reaches all of it.
            self._process = subprocess.Popen(
                command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                env=environment,
                start_new_session=True,
                preexec_fn=_end_with_the_tests,
            )
        return self

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The supervisor's process."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def output(self) -> str:
        """What it has logged so far."""
        return self.log.read_text(errors="replace")

    def subscriber(self, *topics: str) -> Subscriber:
        """A subscriber to everything, or to some topics."""
        return Subscriber(self.endpoint, topics or ("",), timeout_s=START_S)

    def wait_for_log(self, text: str, timeout_s: float = START_S) -> None:
        """Wait until the log holds a text."""
        wait_until(lambda: text in self.output or self.process.poll() is not None, timeout_s, f"{text!r} in the log")
        assert text in self.output, self.output

    def children(self, role: str = "", name: str = "") -> list[int]:
        """Process ids of its children, of a role (``capture``, ``infer``, ``publish``) and a name if given."""
        return family_of(self.process.pid, role, name)

    def stop(self, number: int = signal.SIGTERM, *, group: bool = False, timeout_s: float = 10.0) -> Ended:
        """Send a signal, to the whole process group if wanted as Ctrl-C does, and wait for the end."""
        end = os.pidfd_open(self.process.pid)
        try:
            poller = select.poll()
            poller.register(end, select.POLLIN)
            begin = time.monotonic()
            if group:
                os.killpg(self.process.pid, number)
            else:
                self.process.send_signal(number)
            assert poller.poll(timeout_s * 1000), f"still running {timeout_s} s after the signal:\n{self.output}"
            seconds = time.monotonic() - begin
        finally:
            os.close(end)
        return Ended(self.process.wait(), seconds)

    def terminate(self, timeout_s: float = 10.0) -> int:
        """Send SIGTERM and wait; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def wait(self, timeout_s: float = 60.0) -> int:
        """Wait for its end; returns the exit code."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s} s:\n{self.output}") from None

    def destroy(self) -> None:
        """End it and all that it started, whatever state they are in."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait(10)
        for pid in family_of(self._process.pid):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue


def wait_until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Wait for something that gives no event of its own, looking every 20 ms."""
    end = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < end, f"no {what} within {timeout_s} s"
        time.sleep(0.02)


def family_of(pid: int, role: str = "", name: str = "") -> list[int]:
    """Process ids of a supervisor's children; found also after the supervisor itself is gone."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            # python -m edged.runtime.child ROLE NAME DESCRIPTOR PARENT, and an empty word behind the last NUL.
            words = command_line(int(entry.name))[-6:-1]
            if words[:1] == [_CHILD] and words[4] == str(pid) and role in ("", words[1]) and name in ("", words[2]):
                found.append(int(entry.name))
    return found


def command_line(pid: int) -> list[str]:
    """A process's arguments; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def predictions(subscriber: Subscriber, timeout_s: float = 10.0) -> Iterator[Received]:
    """Predictions as they come, until none comes for a time."""
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        received = subscriber.receive(left)
        if received is not None and isinstance(received.message, Prediction):
            end = time.monotonic() + timeout_s
            yield received


def next_health(subscriber: Subscriber, timeout_s: float = 5.0) -> Health:
    """The next health message; conservation is checked in passing."""
    end = time.monotonic() + timeout_s
    while (left := end - time.monotonic()) > 0:
        received = subscriber.receive(left)
        if received is not None and isinstance(received.message, Health):
            assert_conserved(received.message)
            return received.message
    raise AssertionError(f"no health message within {timeout_s} s")


def assert_conserved(health: Health) -> None:
    """captured = published + dropped + in flight, for every source; no more in flight than the rings can hold."""
    for name, source in health.sources.items():
        losses = source.dropped
        dropped = losses.overwritten + losses.stale + losses.decode_error + losses.failed + losses.shutdown
        assert source.captured == source.published + dropped + source.in_flight, (name, source)
        assert 0 <= source.in_flight <= MOST_IN_FLIGHT, (name, source)
