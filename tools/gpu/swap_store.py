# SPDX-License-Identifier: Apache-2.0
"""A store of its own for `tools.gpu.swap`: two engines that may take turns, and some that must not take over."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec
import onnx
from msgspec.structs import asdict

from edged.engine.manifest import Manifest
from edged.engine.shelf import Content, Shelf, hold
from edged.engine.store import FILES, Found, model_folder, read_current, read_engine, verify
from edged.errors import EngineError
from tools.gpu.building import build_all
from tools.gpu.rig import SHAPES
from tools.gpu.spoiled import SPOILED, spoil
from tools.gpu.stand_in import FACTS

MODEL = "shapes"
NEEDED = {"shapes-fp32": (MODEL, "fp32"), "shapes-fp16": (MODEL, "fp16"), "shapes-spoiled-fp32": (SPOILED, "fp32")}
"""Engines of the part ``build`` that the GPU's store is made from."""
_BUILD_S = 120.0


class Wrong(NamedTuple):
    """An engine that must not take over: its key, and words of the reason that must be given."""

    key: str
    words: str


class Engines(NamedTuple):
    """What the store holds.

    Attributes:
        first: key of the engine that the daemon begins with.
        second: key of another one of the same model.
        wrong: by what is wrong with it.
    """

    first: str
    second: str
    wrong: dict[str, Wrong]


def build_missing(folder: Path, data: Path | None) -> float:
    """Build those that the part ``build`` has not built yet; returns the seconds that this took.

    Raises:
        AssertionError: one cannot be built.
    """
    missing = [name for name, (model, precision) in NEEDED.items() if built(folder, model, precision) is None]
    done = build_all(folder, missing, data) if missing else {}
    failed = [name for name, row in done.items() if not row["ok"]]
    assert not failed, f"not built: {failed}"
    return sum(float(row["seconds"]) for row in done.values())


def built(folder: Path, model: str, precision: str) -> Found | None:
    """A TensorRT engine of the part ``build``; None where there is none."""
    engines = model_folder(folder / "state", model)
    try:
        return read_engine(engines, read_current(engines).engines[f"tensorrt/{precision}"])
    except (EngineError, KeyError):
        return None


def tensorrt_store(folder: Path, state: Path) -> Engines:
    """Fill a state folder with TensorRT engines.

    Args:
        folder: of the GPU checks, where the engines were built.
        state: of the daemon.
    """
    content: list[bytes] = []
    manifests: dict[str, Manifest] = {}
    for name, (model, precision) in NEEDED.items():
        engine = built(folder, model, precision)
        assert engine is not None, f"there is no {name}: build --only {','.join(NEEDED)}"
        verify(engine)
        content.append(engine.path.read_bytes())
        manifests[precision if model == MODEL else SPOILED] = engine.manifest
    return _filled(state, manifests, *content)


def _filled(state: Path, manifests: Mapping[str, Manifest], plan: bytes, half: bytes, spoiled: bytes) -> Engines:
    """Put plans of the model in FP32 and FP16 into a store, and what is made of them and of a spoiled one."""
    exact = manifests["fp32"]
    with hold(state, MODEL) as shelf:
        shelf.put(exact, Content(plan))
        shelf.put(manifests["fp16"], Content(half))
        wrong = {
            "other-weights": Wrong(_put(shelf, exact, "other weights", spoiled), "does not agree"),
            "half-a-plan": Wrong(_put(shelf, exact, "half a plan", plan[: len(plan) // 2]), "does not take"),
            "cut-in-the-store": Wrong(_put(shelf, exact, "cut", plan), "bytes instead of"),
        }
    file = model_folder(state, MODEL) / wrong["cut-in-the-store"].key / exact.file
    file.write_bytes(plan[:-1000])
    make_current(state, exact.key)
    return Engines(exact.key, manifests["fp16"].key, wrong)


def onnxruntime_store(state: Path) -> Engines:
    """Fill a state folder with ONNX Runtime's engines, whose two good ones differ in their keys only."""
    command = [sys.executable, "-m", "edged.engine.cli", str(SHAPES), "--backend", "onnxruntime", "--precision", "fp32"]
    subprocess.run([*command, "--state-dir", str(state)], check=True, stdin=subprocess.DEVNULL, timeout=_BUILD_S)
    folder = model_folder(state, MODEL)
    found = read_engine(folder, read_current(folder).engines["onnxruntime/fp32"])
    content, like = found.path.read_bytes(), found.manifest
    model = onnx.load_model_from_string(content)
    spoil(model)
    with hold(state, MODEL) as shelf:
        second = _put(shelf, like, "second", content)
        wrong = {
            "other-weights": Wrong(_put(shelf, like, "other weights", model.SerializeToString()), "does not agree"),
            "half-a-file": Wrong(_put(shelf, like, "half", content[: len(content) // 2]), "does not take"),
        }
    make_current(state, found.key)
    return Engines(found.key, second, wrong)


def stand_in_store(state: Path) -> Engines:
    """Fill a state folder with engines of the accounting GPU: what `onnxruntime_store` has, under other names."""
    beside = state.with_name("beside")
    found = onnxruntime_store(beside)
    like = read_engine(model_folder(beside, MODEL), found.first)
    content, fields = like.path.read_bytes(), asdict(FACTS)

    def manifest(precision: str) -> Manifest:
        key = msgspec.structs.replace(like.manifest.fields, backend="tensorrt", precision=precision, **fields)
        return msgspec.structs.replace(like.manifest, file=FILES["tensorrt"], key=key.digest(), fields=key, max_batch=8)

    spoiled = read_engine(model_folder(beside, MODEL), found.wrong["other-weights"].key).path.read_bytes()
    return _filled(state, {"fp32": manifest("fp32"), "fp16": manifest("fp16")}, content, content, spoiled)


def make_current(state: Path, key: str) -> None:
    """Have the daemon want an engine of the store."""
    with hold(state, MODEL) as shelf:
        shelf.make_current(read_engine(shelf.folder, key).manifest, chosen=True)


def manifest_of(state: Path, key: str) -> Manifest:
    """What is to be known of an engine of the store."""
    return read_engine(model_folder(state, MODEL), key).manifest


def _put(shelf: Shelf, like: Manifest, name: str, content: bytes) -> str:
    """Store content as what was built; returns its key."""
    fields, measured = msgspec.structs.replace(like.fields, calibration=name), Content(content)
    made = msgspec.structs.replace(like, key=fields.digest(), fields=fields, size=measured.size, sha256=measured.sha256)
    shelf.put(made, measured)
    return made.key
