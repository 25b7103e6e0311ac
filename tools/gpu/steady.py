# SPDX-License-Identifier: Apache-2.0
"""Steady: the device's memory does not change under load, the host's does not grow, nothing is left at the end."""

from __future__ import annotations

import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np

from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.fast import Pumped
from tools.gpu.rig import Host, Pipe

_BATCH = 32
_GROWTH_BYTES = 4 << 20
_SETTLED = 5
"""Readings at the start that the host's memory may still grow in."""


def resident_bytes() -> int:
    """Memory of this process that is in use."""
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def steady(folder: Path, seconds: float = 60.0) -> dict[str, Any]:
    """Batches of changing sizes for a while, with a reading of all memory each second."""
    sizes = random.Random(5)
    free: list[int] = []
    resident: list[int] = []
    batches = 0
    with Host(folder) as host:
        with host.model("resnet18", "fp16") as model:
            prepared = model.prepared
            options = GpuOptions(slots=2, max_batch=_BATCH)
            with Pipe(host.gpu, model.engine, prepared.outputs, prepared.input_size, options) as pipe:
                pumped = Pumped(pipe, _BATCH, np.random.default_rng(1))
                footprint = pipe.executor.footprint._asdict()
                loaded = host.gpu.memory().free
                end = time.monotonic() + seconds
                while time.monotonic() < end:
                    tick = time.monotonic() + 1.0
                    while time.monotonic() < tick:
                        pumped.run(50, lambda: sizes.randint(1, _BATCH))
                        batches += 50
                    free.append(host.gpu.memory().free)
                    resident.append(resident_bytes())
                del pumped
        live = [str(one) for one in host.gpu.live()]
    late = resident[min(_SETTLED, len(resident) - 1) :]
    growth = late[-1] - late[0]
    constant = set(free) == {loaded}
    return {
        "ok": constant and growth <= _GROWTH_BYTES and not live and not host.leaks,
        "batches": batches,
        "free_constant": constant,
        "free_bytes": [loaded, min(free), max(free)],
        "resident_growth_bytes": growth,
        "resident_mib": round(resident[-1] / 2**20, 1),
        "live_after_close": live,
        "footprint": footprint,
    }
