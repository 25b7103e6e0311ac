# SPDX-License-Identifier: Apache-2.0
"""The installed service in a machine, as an operator and a subscriber see it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from support.daemon import toml
from support.engines import write_model

from edged.messages import Event, Health, Prediction
from edged.stages.publish.client import Subscriber
from tools.bench.units_machine import PREFIX, REPO, Machine

UNIT = "edged.service"
BUILD = "edged-build-engine.service"
NORTH = {"name": "north", "uri": "synthetic://shapes?seed=1&fps=10"}
SOUTH = {"name": "south", "uri": "synthetic://shapes?seed=2&fps=10"}
_LONGEST_S = 60.0
_CHILD = "edged.runtime.child"
_DROP_IN = """\
# Of this trial alone: where its Python has its library, and a watchdog that is not waited for a minute.
[Service]
Environment=LD_LIBRARY_PATH={prefix}/python/lib
"""


class Seen(NamedTuple):
    """A prediction.

    Attributes:
        at_s: when it was published, on the monotonic clock.
        source: of its frame.
        boot: of the daemon.
    """

    at_s: float
    source: str
    boot: str


class Service:
    """One installation.

    Args:
        machine: booted.
        watchdog_s: WatchdogSec= of this trial.
    """

    def __init__(self, machine: Machine, watchdog_s: float) -> None:
        self.machine = machine
        self.seen: list[Seen] = []
        self.events: list[Event] = []
        self.health: Health | None = None
        self._config = machine.root / "etc/edged/edged.toml"
        machine.make_version("one")
        machine.use_version("one")
        self.install()
        for words in (
            ("systemd-sysusers", "/etc/sysusers.d/edged.conf"),
            ("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/edged.conf"),
        ):
            machine.run(*words)
        for unit in (UNIT, BUILD):
            folder = machine.root / f"etc/systemd/system/{unit}.d"
            folder.mkdir(exist_ok=True)
            watchdog = f"WatchdogSec={watchdog_s:g}s\n" if unit == UNIT else ""
            (folder / "90-trial.conf").write_text(_DROP_IN.format(prefix=PREFIX) + watchdog)
        for name in ("onnx", "toml", "names"):
            shutil.copy(REPO / f"edged/assets/shapes.{name}", machine.root / "etc/edged/models")
        self.configure()
        machine.run("chown", "-R", "root:edged", "/etc/edged")
        machine.run("systemctl", "daemon-reload")
        # As seen from here: its own /run is out of reach by any shorter path.
        self.subscriber = Subscriber(f"ipc://{machine.root}/run/edged/predictions.sock")

    def install(self) -> str:
        """Install units, users, folders and settings; what it said."""
        words = [sys.executable, str(REPO / "tools/installer/main.py"), "--root", str(self.machine.root)]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout

    def install_tiny(self) -> None:
        """Another model, ``models/tiny.toml``, which brings its INT8 ranges along: its engine is built in a second."""
        write_model(self.machine.root / "etc/edged/models", quantized=True)
        self.machine.run("chmod", "a+r", "/etc/edged/models/tiny.onnx", "/etc/edged/models/tiny.toml")

    def configure(self, sources: list[dict[str, Any]] | None = None, **sections: dict[str, Any]) -> None:
        """Write the settings."""
        content: dict[str, Any] = {
            "sources": sources or [NORTH, SOUTH],
            "model": {"spec": "models/shapes.toml"},
            "engine": {"max_batch": 1},
            "http": {"bind": ""},
        }
        for name, values in sections.items():
            content[name] = {**content.get(name, {}), **values}
        self._config.write_text(toml(content))

    def systemctl(self, *words: str, check: bool = True) -> tuple[int, float]:
        """Exit code, and seconds that it took."""
        begin = time.monotonic()
        done = self.machine.run("systemctl", *words, check=check)
        return done.returncode, time.monotonic() - begin

    def show(self, name: str, unit: str = UNIT) -> str:
        """A property of a unit."""
        return self.machine.show(unit, name)

    def children(self, role: str, name: str = "") -> list[int]:
        """Process ids of the daemon's children, as seen from here."""
        found = []
        for pid in self.machine.processes(UNIT):
            words = _words(pid)
            if _CHILD in words and words[words.index(_CHILD) + 1] == role and name in ("", words[-3]):
                found.append(pid)
        return found

    def supervisor(self) -> int:
        """Process id of the daemon itself, as seen from here; 0 where there is none."""
        pids = [pid for pid in self.machine.processes(UNIT) if "run" in (words := _words(pid)) and _CHILD not in words]
        return pids[0] if pids else 0

    def listen(self, seconds: float) -> None:
        """Take in what is published for a time."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._take(left)

    def _take(self, seconds: float) -> None:
        received = self.subscriber.receive(seconds)
        if received is None:
            return
        message = received.message
        if isinstance(message, Prediction):
            at_s = message.captured_monotonic_ns / 1e9 + message.age_ms / 1e3
            self.seen.append(Seen(at_s, message.source, message.boot))
        elif isinstance(message, Event):
            self.events.append(message)
        elif isinstance(message, Health):
            self.health = message

    def await_prediction(self, since_s: float, source: str = "north", not_boot: str = "") -> float:
        """Seconds from a moment to a source's first prediction after it; the longest wait where none comes."""
        while time.monotonic() < since_s + _LONGEST_S:
            self._take(0.2)
            for each in reversed(self.seen[-200:]):
                if each.at_s < since_s:
                    break
            fresh = [it for it in self.seen if it.at_s > since_s and it.source == source and it.boot != not_boot]
            if fresh:
                return fresh[0].at_s - since_s
        return _LONGEST_S

    def await_event(self, kind: str, count: int, seconds: float = 20.0) -> bool:
        """Whether so many events of a kind have come."""
        end = time.monotonic() + seconds
        while sum(event.kind == kind for event in self.events) < count:
            if time.monotonic() > end:
                return False
            self._take(0.2)
        return True

    def longest_gap_s(self, since_s: float, source: str) -> float:
        """Longest time without a prediction of a source since a moment, until now."""
        seen = [it.at_s for it in self.seen if it.source == source and it.at_s > since_s]
        times = [since_s, *seen, time.monotonic()]
        return max(after - before for before, after in pairwise(times))

    @property
    def boot(self) -> str:
        """Of the prediction seen last."""
        return self.seen[-1].boot if self.seen else ""

    def journal(self, *words: str) -> list[dict[str, Any]]:
        """The unit's entries in the journal."""
        done = self.machine.run("journalctl", "--no-pager", "-o", "json", "-u", UNIT, *words)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def close(self) -> None:
        """Stop it and disconnect."""
        self.subscriber.close()
        self.machine.run("systemctl", "stop", UNIT, check=False)


def _words(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []
