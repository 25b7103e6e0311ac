# SPDX-License-Identifier: Apache-2.0
"""Broken: what users read, and the exit code, where an engine or the device is not as it should be.

Each case is a process of its own, so that one that crashes says so by its exit code.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from edged.engine.key import DeviceFacts
from edged.engine.store import CURRENT_FILE, MANIFEST_FILE, Mismatch, Wanted, find, model_folder, read_current
from edged.engine.toolkit import device_facts
from edged.errors import EdgedError
from edged.gpu import load
from edged.gpu.api import Gpu
from edged.stages.infer.tensorrt import GpuOptions
from tools.gpu.daemon import Running, settings
from tools.gpu.injected import Rig, inject
from tools.gpu.killed import killed
from tools.gpu.lost import lost
from tools.gpu.models import NUMBER_SIZE
from tools.gpu.numbers import DIGITS
from tools.gpu.results import attempt
from tools.gpu.rig import ROOT, Host, Pipe, current_key

_LIMIT_S = 90


class Case(NamedTuple):
    """What is broken, what must come of it, and the model and precision of the engine that it takes."""

    do: Callable[[Path], int]
    code: int
    words: str
    engine: tuple[str, str] = ("number", "fp32")


def truncated_store(folder: Path) -> int:
    """A plan in the store that lost its end."""
    with _Copy(folder / "state") as copy:
        plan = next(copy.glob("engines/number/*/engine.plan"))
        plan.write_bytes(plan.read_bytes()[:-1000])
        return _require(copy, "number", device_facts(0))


def changed_store(folder: Path) -> int:
    """A plan in the store with one byte changed."""
    with _Copy(folder / "state") as copy:
        plan = next(copy.glob("engines/number/*/engine.plan"))
        content = bytearray(plan.read_bytes())
        content[len(content) // 2] ^= 1
        plan.write_bytes(bytes(content))
        return _require(copy, "number", device_facts(0))


def wrong_key(folder: Path) -> int:
    """A manifest whose key does not fit what it says."""
    with _Copy(folder / "state") as copy:
        path = next(copy.glob(f"engines/number/*/{MANIFEST_FILE}"))
        manifest = json.loads(path.read_text())
        manifest["fields"]["gpu"] = "another GPU"
        path.write_text(json.dumps(manifest))
        return _require(copy, "number", device_facts(0))


def other_device(folder: Path) -> int:
    """An engine of another device: what differs is named, and what to do."""
    facts = DeviceFacts(runtime="tensorrt 99.0", gpu="another GPU", compute_capability=(1, 0), driver="1.0")
    return _require(folder / "state", "number", facts)


def truncated_load(folder: Path) -> int:
    """TensorRT itself, given half a plan."""
    with Host(folder) as host:
        plan = host.plan("number", "fp32")
        engine = host.library.load(host.gpu.inventory, "half a plan", plan[: len(plan) // 2])
        engine.close()
    return 0


def no_memory(folder: Path) -> int:
    """No memory left for the engine; once there is some again, it loads."""
    with Host(folder) as host:
        try:
            with ExitStack() as stack:
                _take_all(host.gpu, stack)
                print("free bytes", host.gpu.memory().free)
                _load_large(host)
        except EdgedError:
            live = [str(one) for one in host.gpu.live()]
            _load_large(host)
            print(f"recovered, left behind {live}")
            raise
    return 0


def truncated_daemon(folder: Path) -> int:
    """``edged run`` with a broken engine."""
    with _Copy(folder / "state") as copy:
        for plan in copy.glob("engines/shapes/*/engine.plan"):  # whichever it would take
            plan.write_bytes(plan.read_bytes()[:-1000])
        with Running(settings(copy, "tensorrt", [{"name": "north", "uri": "synthetic://shapes"}])) as running:
            code = running.daemon.wait(60)
            print(running.daemon.output)
            return code


CASES = {
    "truncated-store": Case(truncated_store, 78, "bytes instead of"),
    "changed-store": Case(changed_store, 78, "not what was built"),
    "wrong-key": Case(wrong_key, 78, "does not fit"),
    "other-device": Case(other_device, 78, "another GPU"),
    "truncated-load": Case(truncated_load, 78, "does not take this engine"),
    "no-memory": Case(no_memory, 69, "recovered, left behind []", ("resnet18", "fp16")),
    "truncated-daemon": Case(truncated_daemon, 78, "bytes instead of", ("shapes", "fp32")),
}


def one(folder: Path, name: str) -> int:
    """Do one case in this process; the exit code is that of its error."""
    try:
        return CASES[name].do(folder)
    except EdgedError as error:
        print(f"error: {error}", flush=True)
        return error.exit_code


def broken(folder: Path, skip: tuple[str, ...] = ()) -> dict[str, Any]:
    """All cases but some, each in a process of its own."""
    results: dict[str, Any] = {}
    for name in CASES:
        if name not in skip:
            attempt(results, name, partial(_apart, folder, name))
    return results


def _apart(folder: Path, name: str) -> dict[str, Any]:
    """A case in a process of its own."""
    case = CASES[name]
    current_key(folder, *case.engine)
    script = str(ROOT / "tools" / "gpu_check.py")
    command = [sys.executable, "-u", script, "case", "--folder", str(folder), "--name", name]
    try:
        ended = subprocess.run(
            command,
            cwd=ROOT,
            timeout=_LIMIT_S,
            check=False,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        code, said = ended.returncode, ended.stdout
    except subprocess.TimeoutExpired as error:
        code, said = -1, str(error.stdout)
    ok = code == case.code and case.words in said and "Traceback" not in said
    return {"ok": ok, "code": code, "expected": case.code, "said": said.strip()[-1500:]}


def injected(folder: Path) -> dict[str, Any]:
    """An error in each CUDA call of the executor, see `tools.gpu.injected`."""
    with Host(folder) as host:
        plan = host.plan("number", "fp32")
        rig = Rig(
            load.cuda_driver(),
            lambda gpu: host.library.load(gpu.inventory, "number", plan),
            [DIGITS],
            NUMBER_SIZE,
        )
        return inject(rig, lambda: host.gpu.memory().free)


def broken_parts(folder: Path) -> dict[str, Any]:
    """All that is to go wrong as it should."""
    results: dict[str, Any] = {}
    attempt(results, "errors", lambda: injected(folder))
    results |= results.pop("errors") if "ok" not in results["errors"] else {}
    lost(folder, results)
    attempt(results, "kill-9", lambda: killed(folder))
    return results | broken(folder)


class _Copy:
    """A copy of the state folder, for a while."""

    def __init__(self, state: Path) -> None:
        self._state = state

    def __enter__(self) -> Path:
        self._folder = tempfile.mkdtemp(prefix="edged-broken-")
        copy = Path(self._folder) / "state"
        shutil.copytree(self._state, copy, ignore=shutil.ignore_patterns("resnet*", "small*"))
        return copy

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def _require(state: Path, model: str, facts: DeviceFacts) -> int:
    """What a start does to find its engine."""
    engines = model_folder(state, model)
    assert (engines / CURRENT_FILE).is_file()
    key = read_current(engines).engines["tensorrt/fp32"]
    manifest = json.loads((engines / key / MANIFEST_FILE).read_text())
    found = find(state, Wanted(model, manifest["fields"]["model"], "tensorrt", "fp32", facts, spec="number.toml"))
    if isinstance(found, Mismatch):
        raise found.error()
    return 0


def _take_all(gpu: Gpu, stack: ExitStack) -> None:
    """Leave as little of the device's memory as goes."""
    size = gpu.memory().free
    while size >= 1 << 20:
        try:
            stack.enter_context(closing(gpu.device_buffer("taken", size)))
            size = min(size, gpu.memory().free)
        except EdgedError:
            size //= 2


def _load_large(host: Host) -> None:
    with host.model("resnet18", "fp16") as model:
        prepared = model.prepared
        options = GpuOptions(slots=3, max_batch=128)
        with Pipe(host.gpu, model.engine, prepared.outputs, prepared.input_size, options):
            pass
