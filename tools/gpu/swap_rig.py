# SPDX-License-Identifier: Apache-2.0
"""A daemon under load whose engine, sources and processes are changed, and all that can be seen of it from outside."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from edged.messages import Event, Prediction
from tools.bench.swap_seen import published_s
from tools.gpu.nvml_log import DeviceMemory
from tools.gpu.pins import counted, locked
from tools.gpu.rig import ROOT
from tools.gpu.stand_in import standing_in
from tools.gpu.swap_store import Engines, make_current, manifest_of, onnxruntime_store, stand_in_store, tensorrt_store

sys.path.append(str(ROOT / "tests"))
from support.census import Census, resident_mb, take_census  # isort: skip
from support.daemon import Daemon, toml  # isort: skip
from support.watch import Watch  # isort: skip

CAMERAS = ("north", "east", "south", "west")
FILM = "film"
BASE = (*CAMERAS, FILM)
GUESTS = ("guest", "reel")
"""A camera and a film that come and go."""
GPU_SLACK_MB = 8.0
HOST_SLACK_MB = 8.0
_SETTLE_S = 4.0
_LOOK_S = 0.05


class Load(NamedTuple):
    """Frames a second of each camera, and of the film, which loses nothing and shows pauses more finely."""

    camera_hz: float = 30
    film_hz: float = 200


class Reading(NamedTuple):
    """What the daemon holds at a moment.

    Attributes:
        gpu_mb: memory of the whole device in use; None without one.
        census: processes, descriptors, shared memory.
        resident_mb: of each process, its rings included.
        pinned: pieces of memory that infer has page-locked, and their bytes; None without a GPU.
    """

    gpu_mb: float | None
    census: Census
    resident_mb: dict[str, float]
    pinned: tuple[int, int] | None


class Rig:
    """The daemon and a subscriber that accounts for everything; a context manager.

    Args:
        folder: of the GPU checks.
        backend: ``tensorrt``, ``onnxruntime``, or ``fake`` for the accounting GPU.
        load: how many frames come.

    Attributes:
        on_gpu: whether edged's code for GPUs runs.
        key: of the engine that is to run.
        keys: of all that ran so far, in order.
    """

    daemon: Daemon
    watch: Watch
    engines: Engines

    def __init__(self, folder: Path, backend: str, load: Load) -> None:
        self.backend, self.load = backend, load
        self.on_gpu = backend != "onnxruntime"
        self._folder = folder
        self._stack = ExitStack()
        self._memory: DeviceMemory | None = None

    def __enter__(self) -> Rig:
        try:
            self._start()
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def _start(self) -> None:
        own = Path(tempfile.mkdtemp(prefix="edged-swap-", dir="/tmp"))
        self._stack.callback(shutil.rmtree, own, ignore_errors=True)
        self.state, self._pins = own / "state", own / "pins"
        self._pins.mkdir()
        if self.backend == "tensorrt":
            self._memory = _device_memory()
            self.engines = tensorrt_store(self._folder, self.state)
        elif self.backend == "fake":
            self.engines = stand_in_store(self.state)
            self._stack.enter_context(standing_in())
        else:
            self.engines = onnxruntime_store(self.state)
        if self.on_gpu:
            self._stack.enter_context(counted(self._pins))
        self.keys = [self.engines.first]
        settings = {
            "sources": self.sources(BASE),
            "engine": {"backend": "tensorrt" if self.on_gpu else self.backend, "precision": "auto", "max_batch": 4},
            "publish": {"wait_for_subscribers": 1},
        }
        self.daemon = Daemon(own, settings).start()
        self._stack.callback(self.daemon.destroy)
        self.watch = self._stack.enter_context(Watch(self.daemon))

    @property
    def key(self) -> str:
        """Of the engine that is to run now."""
        return self.keys[-1]

    def sources(self, names: Iterable[str]) -> list[dict[str, Any]]:
        """Settings of sources."""
        found = []
        for seed, name in enumerate(names):
            source: dict[str, Any] = {"name": name, "uri": f"synthetic://shapes?seed={seed}&fps={self.load.camera_hz}"}
            if name in (FILM, GUESTS[1]):
                hz = self.load.film_hz if name == FILM else self.load.camera_hz
                source = {"name": name, "uri": f"synthetic://shapes?seed={seed}", "mode": "lossless", "fps": hz}
            found.append(source)
        return found

    # having it do something ------------------------------------------------------------------------------------------

    def want(self, key: str) -> float:
        """Make an engine current and have the daemon reload at once, as ``edged reload`` does; returns when, seconds.

        The command itself takes longer than the daemon needs to notice by itself; see `reload_with` for that.
        """
        make_current(self.state, key)
        at_s = time.monotonic()
        self.daemon.process.send_signal(signal.SIGHUP)
        return at_s

    def reload_with(self, names: Sequence[str]) -> str:
        """Write other sources into the settings and run ``edged reload``; returns what it says.

        Raises:
            AssertionError: it did not end with 0.
        """
        head, _, rest = self.daemon.config.read_text().partition("[[sources]]")
        self.daemon.config.write_text(head + toml({"sources": self.sources(names)}) + rest[rest.index("[model]") :])
        command = [sys.executable, "-m", "edged", "reload", "--config", str(self.daemon.config)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("EDGED_")}
        pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
        with subprocess.Popen(command, text=True, env=environment, **pipes) as process:
            try:
                self.until(lambda: process.poll() is not None, 30, "end of edged reload")
            finally:
                process.kill()
            said = process.communicate()[0]
        assert process.returncode == 0, said
        return str(said).strip()

    # seeing it -------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], bool], timeout_s: float, what: str) -> None:
        """Take messages until a condition holds that is dear to ask."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"no {what} within {timeout_s:g} s; the log:\n{self.daemon.output[-3000:]}"
            assert self.daemon.process.poll() is None, f"the daemon ended; its log:\n{self.daemon.output[-3000:]}"
            self.watch.record(_LOOK_S)

    def outcome(self, since: int, timeout_s: float) -> Event:
        """What became of a swap: the first event of one after so many events."""

        def found() -> list[Event]:
            kinds = ("engine-swapped", "engine-swap-failed", "engine-rolled-back")
            return [event for event in self.watch.events[since:] if event.kind in kinds]

        self.watch.until(lambda: bool(found()), timeout_s, "event of a swap")
        return found()[0]

    def infers(self) -> list[int]:
        """Process ids of infer, of the engine that runs and of another one."""
        return self.daemon.children("infer")

    def serving(self) -> int:
        """Process id of the only infer process."""
        (pid,) = self.infers()
        return pid

    def at_home(self) -> bool:
        """Whether no swap is under way: one infer process, nobody who chooses or judges."""
        return len(self.infers()) == 1 and not self.daemon.children("prepare") and not self.daemon.children("judge")

    def marks(self, names: Iterable[str] = BASE) -> dict[str, int]:
        """How many predictions of each source have come."""
        return {name: len(self.watch.predictions.get(name, ())) for name in names}

    def since(self, marks: dict[str, int]) -> dict[str, list[Prediction]]:
        """Predictions after `marks`, and the last one before."""
        return {name: self.watch.predictions.get(name, [])[max(0, at - 1) :] for name, at in marks.items()}

    def back_after(self, moment_s: float, timeout_s: float = 30.0) -> float:
        """Wait for a fresh prediction of every source; seconds from a moment until the last of them had its first."""
        self.watch.wait_for_all(BASE, moment_s, timeout_s)
        firsts = []
        for name in BASE:
            fresh = (each for each in self.watch.predictions[name] if each.captured_monotonic_ns > moment_s * 1e9)
            firsts.append(published_s(next(fresh)))
        return max(firsts) - moment_s

    def read(self) -> Reading:
        """Look at everything now."""
        resident = resident_mb(self.daemon)
        gpu_mb, pinned = None, None
        if self._memory is not None:
            gpu_mb = self._memory.used_mb()
        if self.on_gpu:
            pieces = locked(self._pins / str(self.serving()))
            pinned = len(pieces), sum(pieces.values())
        return Reading(gpu_mb, take_census(self.daemon), resident, pinned)

    def steady(self, like: Reading | None = None) -> Reading:
        """A reading once the daemon is at rest: when it is like another one, or some seconds later."""
        end = time.monotonic() + _SETTLE_S
        self.watch.record(0.5)
        reading = self.read()
        while like is not None and (differences(like, reading) or not _near(like, reading)) and time.monotonic() < end:
            self.watch.record(0.25)
            reading = self.read()
        return reading

    def manifest_fields(self, key: str) -> tuple[str, str]:
        """Backend and precision of an engine, as its manifest says them."""
        fields = manifest_of(self.state, key).fields
        return fields.backend, fields.precision


def kill(pid: int) -> float:
    """``kill -9``; returns when, monotonic seconds."""
    at_s = time.monotonic()
    os.kill(pid, signal.SIGKILL)
    return at_s


def differences(first: Reading, now: Reading) -> list[str]:
    """What was constant and is not: processes, descriptors, shared memory, zombies, page-locked memory."""
    ours, theirs = first.census._replace(threads={}), now.census._replace(threads={})
    pairs = {**{name: (getattr(ours, name), getattr(theirs, name)) for name in ours._fields}}
    pairs["pinned"] = (first.pinned, now.pinned)
    return [f"{name}: {before} → {after}" for name, (before, after) in pairs.items() if before != after]


def leased(reading: Reading) -> Reading:
    """The same once an engine has run before: the supervisor keeps that one's folder open too."""
    counts = reading.census.descriptors
    return reading._replace(
        census=reading.census._replace(descriptors={**counts, "supervisor": counts["supervisor"] + 1})
    )


def _device_memory() -> DeviceMemory | None:
    try:
        return DeviceMemory()
    except SystemExit as reason:
        print(reason, flush=True)
        return None


def _near(like: Reading, reading: Reading) -> bool:
    if like.gpu_mb is None or reading.gpu_mb is None:
        return True
    return abs(like.gpu_mb - reading.gpu_mb) <= GPU_SLACK_MB
