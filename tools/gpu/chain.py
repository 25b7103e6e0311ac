# SPDX-License-Identifier: Apache-2.0
"""Trusted, on the GPU: ``edged-build-engine`` from images to the engine that it chooses, as users run it.

- digits: a classifier of 32×32 pixels, labelled.
- measured: calibration and plans on the GPU and in ONNX Runtime give the same, and how long each takes (YOLOX-Nano).
- resnet18-1, resnet18-128: batches of 1 and of 128, where INT8 wins.
- yolox: YOLOX-Nano on labelled photographs, batches of 1 and 8, where INT8 loses: FP16 must be chosen.
- agree-…: what the INT8 engine finds is what ONNX Runtime finds with the same plan.
- rest: one INT8 plan of YOLOX-Nano with its rest in float16 and in float32, each beside ONNX Runtime, and raced.
- killed: ``kill -9`` at random moments of a build; the store is whole, and the next build goes on.

What was done by an earlier call is not done again, so that calls of limited length do it all; each step has its own
limit, and its results are written at once.
"""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from edged.engine.manifest import Manifest
from edged.engine.store import RECIPE_FILE, model_folder
from tools.gpu.chain_agree import LEAST
from tools.gpu.chain_bench import RESULTS, Bench, done, manifests
from tools.gpu.chain_data import Subject
from tools.gpu.chain_killed import killed
from tools.gpu.results import SkippedError, attempt

_MIB = 1 << 20
_TOLD = (
    "images were run by",
    "plans are run by",
    "cannot measure",
    "cannot be built",
    "built by the build",
    "would measure",
)
"""Notes of a build that belong into its row."""


class Chain(NamedTuple):
    """One build with all that it measures.

    Attributes:
        model: whose; see `tools.gpu.chain_data`.
        flags: of ``edged-build-engine``.
        limit_s: longest time.
        expected: the precision that must be chosen; empty where either may.
        again: further flags for a second try, where the first was not done in time or failed; none for no such try.
    """

    model: str
    flags: tuple[str, ...]
    limit_s: float
    expected: str = ""
    again: tuple[str, ...] = ()

    @property
    def longest_s(self) -> float:
        """With a second try."""
        return self.limit_s * (2 if self.again else 1)


# With a bound of 100 points nothing but speed decides: the ResNet's weights are random.
_RACE_ONLY = ("--bound", "100", "--search-minutes", "1", "--optimization-level", "3")
CHAINS = {
    "digits": Chain("digits", ("--optimization-level", "2", "--search-minutes", "1"), 200),
    "resnet18-1": Chain("resnet18", ("--profile", "1,1,1", *_RACE_ONLY), 240, "int8"),
    "resnet18-128": Chain("resnet18", ("--profile", "128,128,128", *_RACE_ONLY), 260, "int8"),
    "yolox": Chain(
        "yolox",
        ("--profile", "1,8,8", "--optimization-level", "1", "--search-minutes", "2"),
        275,
        "fp16",
        again=("--optimization-level", "0"),
    ),
}
STEPS = ("digits", "agree-digits", "measured", "resnet18-1", "resnet18-128", "yolox", "agree-yolox", "rest", "killed")
_LIMITS = {"agree-digits": 60.0, "measured": 180.0, "agree-yolox": 120.0, "rest": 340.0, "killed": 300.0}
_SLACK_S = 20.0


def built(bench: Bench, name: str) -> dict[str, Any]:
    """One chain: what was chosen, and every candidate's time, loss and memory."""
    chain = CHAINS[name]
    subject, state = bench.subject(chain.model), bench.folder / name
    flags = ("--precision", "auto", *chain.flags)
    code, seconds, said = bench.run(name, bench.command(subject, state, *flags), chain.limit_s)
    tries = [{"code": code, "seconds": seconds}]
    if code and chain.again:
        code, seconds, said = bench.run(
            f"{name}-again", bench.command(subject, state, *flags, *chain.again), chain.limit_s
        )
        tries.append({"code": code, "seconds": seconds})
    notes = [line.strip() for line in said.splitlines() if any(words in line for words in _TOLD)]
    row: dict[str, Any] = {"ok": code == 0, "seconds": seconds}
    if len(tries) > 1:
        row["tries"] = tries
    if code:
        return row | {"code": code, "notes": notes, "said": said[-1500:]}
    return row | _of_store(bench, state, chain, subject) | {"notes": notes}


def _of_store(bench: Bench, state: Path, chain: Chain, subject: Subject) -> dict[str, Any]:
    found = manifests(state, subject.spec.stem, bench.backend)
    auto = found["auto"]
    chosen = auto.fields.precision
    for file in ("report.html", "engine.json"):
        bench.keep(_beside(state, subject.spec.stem, auto, file, state.name, bench.folder))
    row: dict[str, Any] = {}
    if chain.expected:
        row |= {"ok": chosen == chain.expected, "target": f"{chain.expected} is chosen"}
    row["chosen"] = chosen
    row["ms"] = {one.precision: one.latency_ms for one in auto.candidates}
    row["lost"] = {one.precision: one.accuracy.get("loss") for one in auto.candidates}
    int8 = found.get("int8")
    if int8 is not None and int8.int8 is not None:
        row["share"] = round(int8.int8.share, 3)
    row["MiB weights, activations, io"] = {
        name: [_mib(one.memory.weights), _mib(max(one.memory.activations, default=None)), _mib(one.memory.io)]
        for name, one in found.items()
        if name != "auto"
    }
    row["accuracy"] = {one.precision: one.accuracy for one in auto.candidates}
    return row | {"candidates": [one.note for one in auto.candidates], "why": list(auto.chosen.why)}


def _beside(state: Path, model: str, manifest: Manifest, file: str, name: str, folder: Path) -> Path:
    """A copy of a file beside an engine, named after the chain."""
    target = folder / f"{name}-{file}"
    shutil.copyfile(model_folder(state, model) / manifest.key / file, target)
    return target


def _mib(size: int | None) -> float | None:
    return None if size is None else round(size / _MIB, 1)


def agreeing(bench: Bench, name: str) -> dict[str, Any]:
    """The INT8 engine of a chain beside ONNX Runtime, in a process of its own."""
    chain = CHAINS[name]
    subject, state = bench.subject(chain.model), bench.folder / name
    model = subject.spec.stem
    row: dict[str, Any] = {}
    if "int8" not in manifests(state, model, bench.backend):
        # Refused on the GPU: to compare it, allow whatever it loses.
        flags = ("--precision", "int8", *chain.flags, "--bound", "100")
        code, seconds, said = bench.run(f"{name}-int8", bench.command(subject, state, *flags), chain.limit_s)
        row["int8 was refused, and built without a bound"] = {"code": code, "seconds": seconds, "said": said[-500:]}
    result = bench.folder / f"agree-{name}.json"
    words = [str(one) for one in (subject.spec, state, subject.val, result)]
    return _in_process(bench, f"agree-{name}", ["tools.gpu.chain_agree", *words], result) | row


def measured(bench: Bench) -> dict[str, Any]:
    """Calibration and plans of YOLOX-Nano on both, in a process of its own."""
    subject, result = bench.subject("yolox"), bench.folder / "measured.json"
    given = (subject.spec, bench.folder / "measured", subject.calib, subject.val, result, subject.labels)
    return _in_process(bench, "measured", ["tools.gpu.chain_measure", *map(str, given)], result)


def rest(bench: Bench, left_s: float) -> dict[str, Any]:
    """See `tools.gpu.chain_rest`; needs a plan, which lies beside the model."""
    subject, result = bench.subject("yolox"), bench.folder / "rest.json"
    recipe = subject.spec.parent / RECIPE_FILE
    if not recipe.is_file():
        raise SkippedError(f"needs {recipe}, which lies beside an INT8 engine of this model")
    words = (subject.spec, bench.folder / "rest", subject.val, recipe, bench.cache, result)
    seconds = f"{min(left_s, _LIMITS['rest']) - _SLACK_S:.0f}"
    found = _in_process(bench, "rest", ["tools.gpu.chain_rest", *map(str, words), seconds], result)
    bench.keep(result)
    plain = found.get("fp32 rest", {}).get("matched", 0.0)
    return {"ok": plain >= LEAST["detection"], "target": f"{LEAST['detection']:.0%} with the rest in float32", **found}


def _in_process(bench: Bench, name: str, words: Sequence[str], result: Path) -> dict[str, Any]:
    """What a module of these tools writes into a file."""
    result.unlink(missing_ok=True)
    code, seconds, said = bench.run(name, [sys.executable, "-m", *words], _LIMITS[name])
    if not result.is_file():
        return {"ok": False, "code": code, "said": said[-1500:]}
    found: dict[str, Any] = json.loads(result.read_text("utf-8"))
    return found | {"seconds": seconds} | ({"code": code, "said": said[-800:]} if code else {})


def chain(
    folder: Path,
    data: Path,
    json_folder: Path | None = None,
    seconds: float = 560.0,
    steps: Sequence[str] = STEPS,
    backend: str = "tensorrt",
) -> dict[str, Any]:
    """All steps that are not done yet and fit into the time.

    Args:
        folder: keeps everything between calls.
        data: what `tools.gpu.chain_data` wrote.
        json_folder: results are written there too, after each step.
        seconds: of this call; a step that may take longer than what is left of it is left to the next call.
        steps: to do, out of `STEPS`; done again where they are named.
        backend: to build for.
    """
    begin = time.monotonic()
    bench = Bench(folder, data, json_folder, backend)
    results = done(bench.folder)
    works: dict[str, Callable[[], dict[str, Any]]] = {name: partial(built, bench, name) for name in CHAINS}
    works |= {f"agree-{name}": partial(agreeing, bench, name) for name in ("digits", "yolox")}
    works["measured"] = partial(measured, bench)
    works["rest"] = lambda: rest(bench, begin + seconds - time.monotonic())
    digits = CHAINS["digits"]
    whole = partial(killed, bench, bench.subjects.get(digits.model), digits.flags, digits.limit_s)
    works["killed"] = lambda: whole(results.get("digits", {}).get("seconds") or 60.0)
    for name in steps:
        if name in results and tuple(steps) == STEPS:
            continue
        need = CHAINS[name].longest_s if name in CHAINS else _LIMITS[name]
        if begin + seconds - time.monotonic() < need:
            print(f"{name} is left to the next call: it may take {need:.0f} s", flush=True)
            continue
        attempt(results, name, works[name])
        (bench.folder / RESULTS).write_text(json.dumps(results, indent=1, default=str), "utf-8")
        bench.keep(bench.folder / RESULTS)
    bench.keep(bench.cache)
    return results
