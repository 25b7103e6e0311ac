# SPDX-License-Identifier: Apache-2.0
"""Builds the engines that all other parts need, with ``edged-build-engine`` as users run it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from edged.engine.store import model_folder, read_current, read_engine
from tools.gpu.rig import ROOT, spec_of
from tools.gpu.spoiled import SPOILED, export_spoiled

_TWO = ("--profile", "1,8,32", "--profile", "33,128,128")
_TABLE = ("--profile", "1,8,32")
_QUICK = ("--optimization-level", "2")
ENGINES: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "shapes-fp32": ("shapes", "fp32", ("--profile", "1,4,8", "--optimization-level", "1")),
    "number-fp32": ("number", "fp32", ("--profile", "1,4,4", "--profile", "5,16,32", "--optimization-level", "1")),
    "shapes-fp16": ("shapes", "fp16", ("--profile", "1,4,8", "--optimization-level", "1")),
    "shapes-spoiled-fp32": (SPOILED, "fp32", ("--profile", "1,4,8", "--optimization-level", "1")),
    "resnet18-fp16": ("resnet18", "fp16", _TWO),
    "resnet18-int8": ("resnet18-int8", "int8", _TWO),
    "resnet18-fp32": ("resnet18", "fp32", (*_TABLE, *_QUICK)),
    "resnet18-tf32": ("resnet18", "tf32", (*_TABLE, *_QUICK)),
    "resnet50-fp16": ("resnet50", "fp16", _TABLE),
    "resnet50-int8": ("resnet50-int8", "int8", _TABLE),
    "small-640-fp16": ("small-640", "fp16", (*_TABLE, "--optimization-level", "1")),
    "resnet50-640-fp16": ("resnet50-640", "fp16", (*_TABLE, *_QUICK)),
    "resnet50-tf32": ("resnet50", "tf32", (*_TABLE, *_QUICK)),
    "resnet50-fp32": ("resnet50", "fp32", (*_TABLE, *_QUICK)),
}
"""Name: model, precision, flags of ``edged-build-engine``. Those that most parts need come first."""

TIMING_CACHE = "timing.cache"
_LIMIT_S = 200


def build_all(folder: Path, only: list[str] | None = None, data: Path | None = None) -> dict[str, Any]:
    """Build engines one after the other; one that fails does not stop the others.

    Args:
        folder: with the exported models; keeps the timing cache as ``state/timing.cache``.
        only: names out of `ENGINES`; all where None.
        data: may hold the timing cache of an earlier visit, which makes building quicker.
    """
    results: dict[str, Any] = {}
    kept = folder / "state" / TIMING_CACHE
    if data is not None and (data / TIMING_CACHE).is_file() and not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(data / TIMING_CACHE, kept)
        print(f"begins with the timing cache of {data}", flush=True)
    for name in only or ENGINES:
        model, precision, flags = ENGINES[name]
        if model == SPOILED:
            export_spoiled(folder)
        command = [sys.executable, "-m", "edged.engine.cli", str(spec_of(folder, model)), "--backend", "tensorrt"]
        command += ["--precision", precision, "--state-dir", str(folder / "state"), *flags]
        print("$", " ".join(command), flush=True)
        begin = time.monotonic()
        try:
            ended = subprocess.run(command, cwd=ROOT, timeout=_LIMIT_S, stdin=subprocess.DEVNULL, check=False)
            code = ended.returncode
        except subprocess.TimeoutExpired:
            code = -1
        results[name] = {"code": code, "seconds": round(time.monotonic() - begin, 1), "ok": code == 0}
        if code == 0:
            results[name] |= _facts(folder, model, precision)
        print(name, results[name], flush=True)
    return results


def _facts(folder: Path, model: str, precision: str) -> dict[str, Any]:
    engines = model_folder(folder / "state", model)
    manifest = read_engine(engines, read_current(engines).engines[f"tensorrt/{precision}"]).manifest
    memory = manifest.memory
    return {
        "built_in_s": manifest.built_in_s,
        "plan_bytes": manifest.size,
        "weights": memory.weights,
        "activations": memory.activations,
        "io": memory.io,
        "layers": manifest.layers,
        "runtime": manifest.fields.runtime,
        "gpu": manifest.fields.gpu,
    }
