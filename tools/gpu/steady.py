# SPDX-License-Identifier: Apache-2.0
"""Steady: under load the device's memory does not change, the host's does not grow, and nothing is left at the end.

The pipeline works in this process and a whole daemon beside it, on one GPU: what is free on it, asked for from here, is
what both leave.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.daemon import Running
from tools.gpu.fast import Pumped
from tools.gpu.rig import Host, Pipe

_BATCH = 32
_GROWTH_BYTES = 4 << 20
_SETTLED_S = 20.0
"""Time at the start in which the host's memory may still grow: pools fill, first log lines come."""
_READY_S = 60.0
_WARM_S = 3.0
"""The driver loads some kernels when they first run, in the daemon as here."""


def resident_bytes(pid: int | str = "self") -> int:
    """Memory of a process that is in use."""
    with open(f"/proc/{pid}/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """How much values grow in a second, by the straight line that fits best."""
    if len(times) < 2:
        return 0.0
    return float(np.polyfit(np.array(times) - times[0], np.array(values, np.float64), 1)[0])


class Watched:
    """Resident memory of processes over time."""

    def __init__(self, pids: Mapping[str, int | str]) -> None:
        self._pids = pids
        self.times: list[float] = []
        self.bytes: dict[str, list[int]] = {name: [] for name in pids}

    def look(self) -> None:
        """Take one reading."""
        self.times.append(time.monotonic())
        for name, pid in self._pids.items():
            self.bytes[name].append(resident_bytes(pid))

    def growth(self, settled_s: float = _SETTLED_S) -> dict[str, dict[str, Any]]:
        """Of each process, after a time to settle: MiB in the end, KiB a minute, and whether it is flat.

        Flat is a line that would not rise by more than 4 MiB over the whole time, or in fact did not.
        """
        start = next((i for i, at in enumerate(self.times) if at >= self.times[0] + settled_s), len(self.times) // 2)
        times = self.times[start:]
        rows = {}
        for name, values in self.bytes.items():
            late = values[start:]
            rise = slope(times, late)
            grown = min(rise * (times[-1] - times[0]), late[-1] - late[0])
            rows[name] = {
                "ok": grown <= _GROWTH_BYTES,
                "mib": round(late[-1] / 2**20, 1),
                "kib_a_minute": round(rise * 60 / 1024, 1),
                "grown_kib": (late[-1] - late[0]) // 1024,
            }
        return rows


@contextmanager
def loaded_daemon(content: dict[str, Any]) -> Iterator[Running]:
    """A daemon that is ready and works, with a subscriber to everything."""
    with Running(content) as running:
        running.daemon.wait_for_log("ready after", _READY_S)
        command = [sys.executable, "-m", "edged", "tail", "--connect", running.daemon.endpoint]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL) as tail:
            try:
                yield running
            finally:
                tail.kill()


def family(running: Running) -> dict[str, int]:
    """Its processes by name."""
    daemon = running.daemon
    found = {"supervisor": daemon.process.pid}
    for role in ("infer", "publish"):
        found |= dict.fromkeys([role], *daemon.children(role)[:1])
    return found | {f"capture {number}": pid for number, pid in enumerate(sorted(daemon.children("capture")))}


def daemon_settings(folder: Path) -> dict[str, Any]:
    """Two lossless sources without an end, and the demo model."""
    sources = [
        {"name": name, "uri": f"synthetic://shapes?seed={seed}&cache=32", "mode": "lossless"}
        for seed, name in enumerate(("a", "b"))
    ]
    return {
        "daemon": {"name": "gpu", "state_dir": str(folder / "state")},
        "sources": sources,
        "engine": {"backend": "tensorrt", "precision": "fp32", "max_batch": 4},
    }


def steady(folder: Path, seconds: float = 300.0) -> dict[str, Any]:
    """Batches of changing sizes for a while beside a busy daemon, with a reading of all memory each second."""
    results: dict[str, Any] = {}
    with Host(folder) as host:
        with loaded_daemon(daemon_settings(folder)) as running:
            results |= _work(host, running, seconds)
            code = running.daemon.terminate()
            output = running.daemon.output
        live = [str(one) for one in host.gpu.live()]
    results["ends"] = {
        "ok": not live and not host.leaks and code == 0 and "not released" not in output and "Traceback" not in output,
        "target": "nothing left in the pipeline's process nor in the daemon's",
        "live_after_close": live,
        "leaks": [str(leak) for leak in host.leaks],
        "daemon_code": code,
        "said": output[-1000:],
    }
    return results


def _work(host: Host, running: Running, seconds: float) -> dict[str, Any]:
    sizes = random.Random(5)
    free: list[int] = []
    batches = 0
    with host.model("resnet18", "fp16") as model:
        prepared = model.prepared
        options = GpuOptions(slots=2, max_batch=_BATCH)
        with Pipe(host.gpu, model.engine, prepared.outputs, prepared.input_size, options) as pipe:
            pumped = Pumped(pipe, _BATCH, np.random.default_rng(1))
            footprint = pipe.executor.footprint._asdict()
            warm = time.monotonic() + _WARM_S
            while time.monotonic() < warm:
                pumped.run(50, lambda: sizes.randint(1, _BATCH))
            watched = Watched({"pipeline": "self", **family(running)})
            loaded = host.gpu.memory().free
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                tick = time.monotonic() + 1.0
                while time.monotonic() < tick:
                    pumped.run(50, lambda: sizes.randint(1, _BATCH))
                    batches += 50
                free.append(host.gpu.memory().free)
                watched.look()
            del pumped
    constant = set(free) == {loaded}
    gpu = {
        "ok": constant,
        "target": "constant to the byte",
        "batches": batches,
        "seconds": seconds,
        "free_bytes": [loaded, min(free), max(free)],
        "footprint": footprint,
    }
    return {"gpu-memory": gpu} | {f"host-{name}": row for name, row in watched.growth().items()}
