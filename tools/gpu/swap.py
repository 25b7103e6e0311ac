# SPDX-License-Identifier: Apache-2.0
"""Engines swapped under load on the GPU, and what goes wrong meanwhile; sources that come and go; ``kill -9``.

    python tools/gpu_check.py build --folder D --only shapes-fp32,shapes-fp16,shapes-spoiled-fp32
    python tools/gpu_check.py swap --folder D

What was not built yet is built first; no exported models are needed. About three minutes. Without a GPU, the same with
ONNX Runtime, where engines differ in their keys only and fewer frames come:

    python tools/gpu_check.py swap --folder D --backend onnxruntime --rounds 2

With ``--backend fake`` edged's own code for GPUs runs on the accounting GPU, see `tools.gpu.stand_in`.

One daemon with four cameras and a film that loses nothing goes through all of it; the last step accounts for every
number of every source. Memory of the GPU is NVML's, of the whole device: nothing else may run there.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from tools.gpu.results import attempt
from tools.gpu.swap_faults import faults
from tools.gpu.swap_rig import BASE, FILM, Load, Reading, Rig
from tools.gpu.swap_sources import guests
from tools.gpu.swap_store import build_missing
from tools.gpu.swap_turns import Swap, accounts, back_and_forth, left_behind, pauses_of

START_S = 60.0
LOADS = {"tensorrt": Load(30, 200), "onnxruntime": Load(10, 30), "fake": Load(5, 10)}


def swap(folder: Path, backend: str = "tensorrt", rounds: int = 5, data: Path | None = None) -> dict[str, Any]:
    """All of it.

    Args:
        folder: of the GPU checks.
        backend: ``tensorrt``, ``onnxruntime``, or ``fake`` for the accounting GPU.
        rounds: swaps there and back, and comings and goings of sources.
        data: see `tools.gpu.building.build_all`.
    """
    results: dict[str, Any] = {}
    if backend == "tensorrt":
        attempt(results, "engines", lambda: {"ok": True, "built_in_s": build_missing(folder, data)})
        if not results["engines"]["ok"]:
            return results
    with Rig(folder, backend, LOADS[backend]) as rig:
        attempt(results, "start", lambda: started(rig))
        if not results["start"]["ok"]:
            print(rig.daemon.output, flush=True)
            return results
        attempt(results, "sources", lambda: guests(rig, rounds))
        readings: dict[str, list[Reading]] = {}
        swaps: list[Swap] = []
        attempt(results, "back-and-forth", lambda: back_and_forth(rig, rounds, swaps, readings))
        if swaps:
            attempt(results, "pauses", lambda: pauses_of(rig, swaps))
        for key, seen in readings.items():
            attempt(results, f"left-behind-{key[:8]}", partial(left_behind, rig, key, seen))
        faults(rig, results)
        # The process that infers now began as a candidate, and is the one that ends by itself: it must leave nothing.
        attempt(results, "sources-again", lambda: guests(rig, 1))
        last = readings.get(rig.key)
        if last:
            attempt(results, "left-behind-by-all", lambda: left_behind(rig, rig.key, [last[0], rig.steady(last[0])]))
        attempt(results, "accounts", lambda: accounts(rig))
    return results


def started(rig: Rig) -> dict[str, Any]:
    """Every source publishes what the current engine made."""
    begin = time.monotonic()
    rig.watch.wait_for_all(BASE, 0, START_S)
    seconds = time.monotonic() - begin
    rig.watch.record(2.0)
    health = rig.watch.until_health(lambda health: health.engine is not None)
    model = rig.watch.predictions[FILM][-1].model
    io = "" if health.engine is None else health.engine.io
    right = (model.engine, model.backend) == (rig.key, "tensorrt" if rig.on_gpu else rig.backend)
    return {
        "ok": right and (io == "copy" or not rig.on_gpu),
        "target": "the current engine; on the GPU, frames are read from page-locked rings",
        "seconds": round(seconds, 1),
        "engine": f"{model.backend} {model.precision}",
        "io": io,
    }
