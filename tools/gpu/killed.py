# SPDX-License-Identifier: Apache-2.0
"""``kill -9`` in the middle of builds: the store always holds whole engines, and what it names is there."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from edged.engine.store import CURRENT_FILE, ENGINES, read_current, read_engine, verify
from edged.errors import EngineError
from edged.files import TEMPORARY
from tools.gpu.rig import ROOT, spec_of

_LIMIT_S = 90.0


def command(spec: Path, state: Path, backend: str, number: int) -> list[str]:
    """A build of an engine of its own: the limit of the workspace is part of the key."""
    found = [sys.executable, "-m", "edged.engine.cli", str(spec), "--backend", backend, "--state-dir", str(state)]
    found += ["--force", "--workspace-mb", str(64 + number), "--optimization-level", "0"]
    return [*found, "--precision", "fp32", "--profile", "1,2,4"]


def inconsistent(folder: Path) -> str:
    """What is wrong with a model's part of a store; empty where all is well.

    Args:
        folder: ``<state_dir>/engines/<model id>``.
    """
    try:
        current = read_current(folder)
        if not current.engines:
            return f"{folder / CURRENT_FILE} names no engine"
        for key in current.engines.values():
            verify(read_engine(folder, key))
    except EngineError as error:
        return str(error)
    return ""


def leftovers(folder: Path) -> list[str]:
    """What a killed build leaves and the next one removes."""
    return [path.name for path in folder.parent.rglob(f"*{TEMPORARY}")] + [path.name for path in folder.glob("*.old")]


def one_lane(spec: Path, model: str, backend: str, count: int, seed: int) -> dict[str, Any]:
    """Builds that end, some that are killed at moments spread over the time that it took, and one that ends."""
    chance = random.Random(seed)
    problems: list[str] = []
    signals: Counter[int] = Counter()
    top = Path(tempfile.mkdtemp(prefix="edged-killed-"))
    folder = top / ENGINES / model
    try:
        _run(command(spec, top, backend, 0))
        begin = time.monotonic()
        _run(command(spec, top, backend, 0))
        whole_s = time.monotonic() - begin
        for number in range(1, count + 1):
            # Three in four hit the last third, where the store is written.
            after_s = whole_s * chance.uniform(0.0 if number % 4 == 0 else 0.6, 0.98)
            build = subprocess.Popen(
                command(spec, top, backend, number), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            signals[kill(build, after_s)] += 1
            problem = inconsistent(folder)
            if problem:
                problems.append(f"after {after_s:.2f} of {whole_s:.2f} s: {problem}")
        _run(command(spec, top, backend, count + 1))
        problems += filter(None, [inconsistent(folder)])
        problems += [f"left behind: {name}" for name in leftovers(folder)]
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return {"problems": problems, "killed": signals[-signal.SIGKILL], "ended": signals[0], "build_s": round(whole_s, 2)}


def killed(folder: Path, *, backend: str = "tensorrt", builds: int = 20, lanes: int = 4) -> dict[str, Any]:
    """Builds that are killed, in some state directories side by side.

    Args:
        folder: with the model that reads numbers.
        backend: to build for.
        builds: how many are killed in all.
        lanes: how many at a time.
    """
    spec = spec_of(folder, "number")
    with ThreadPoolExecutor(lanes) as pool:
        parts = list(pool.map(lambda lane: one_lane(spec, "number", backend, builds // lanes, lane), range(lanes)))
    problems = [problem for part in parts for problem in part["problems"]]
    hit = sum(part["killed"] for part in parts)
    return {
        "ok": not problems and hit >= builds // 2,
        "target": f"{builds} builds killed, the store consistent after each",
        "killed": hit,
        "done_before": sum(part["ended"] for part in parts),
        "build_s": [part["build_s"] for part in parts],
        "problems": problems,
    }


def kill(build: subprocess.Popen[bytes], after_s: float) -> int:
    """End a build with SIGKILL after a time, and all that it started; returns its exit status."""
    try:
        return build.wait(after_s)
    except subprocess.TimeoutExpired:
        children = _children(build.pid)
        # Its child dies with it; killed at the same moment, neither has time for clearing up.
        for pid in (build.pid, *children):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        status = build.wait(10)
        for pid in children:
            _gone(pid)
        return status


def _children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(word) for word in found.read_text().split()] if found.exists() else []


def _gone(pid: int) -> None:
    end = time.monotonic() + 10
    while Path(f"/proc/{pid}").exists() and time.monotonic() < end:
        time.sleep(0.01)


def _run(words: list[str]) -> None:
    ended = subprocess.run(words, cwd=ROOT, timeout=_LIMIT_S, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise AssertionError(f"a build ended with {ended.returncode}: {ended.stdout[-500:]}{ended.stderr[-500:]}")
