# SPDX-License-Identifier: Apache-2.0
"""Which engine runs: asked in a process that ends soon, because a look at the GPU opens it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from msgspec.structs import replace

from edged.engine.here import facts_here
from edged.engine.key import DeviceFacts
from edged.engine.lookup import Selection, select
from edged.engine.store import AUTO, Wanted, model_folder, read_engine, unfit, verify
from edged.errors import EngineError
from edged.graph.prepare import PreparedModel
from edged.runtime.plans import ChosenEngine, EngineWish

_KEY_CHARACTERS = 16


def choose(wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ChosenEngine:
    """Choose the engine for a prepared model on this machine.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
        EngineError: the engine asked for was not built, or is not valid here; the error tells what differs and the
            command that builds it.
    """
    facts = facts_here(wish.backend, wish.device)
    return _chosen(_select(wish, facts, prepared, state_dir, spec).require(), prepared)


def choose_key(key: str, wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ChosenEngine:
    """Take a certain engine of the store, if it is valid here.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
        EngineError: it is not there, broken, or not valid here.
    """
    found = read_engine(model_folder(state_dir, prepared.model_id), key)
    verify(found)
    fields = found.manifest.fields
    facts = facts_here(wish.backend, wish.device)
    wanted = Wanted(prepared.model_id, prepared.digest, fields.backend, fields.precision, facts, None, str(spec))
    wrong = unfit(found.manifest, wanted)
    if wrong:
        differs = "; ".join(map(str, wrong))
        raise EngineError(f"is not valid here ({differs})", where=str(found.path.parent), remedy="build it again")
    return _chosen(Selection(fields.backend, fields.precision, found, None, True), prepared)


class ForNow(NamedTuple):
    """What runs until the engine that is asked for is built.

    Attributes:
        engine: what runs.
        backend: of the engine to build; empty where nothing is to be built.
        what: is missing, a clause; empty likewise.
    """

    engine: ChosenEngine
    backend: str = ""
    what: str = ""


def choose_for_now(wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ForNow:
    """Choose what a daemon runs that serves while it builds: the engine asked for, else what comes closest to it.

    That is another precision of the same backend if one is valid here, else the prepared graph on ONNX Runtime.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
        EngineError: nothing can run before something is built.
    """
    facts = facts_here(wish.backend, wish.device)
    found = _select(wish, facts, prepared, state_dir, spec)
    if found.missing is None:
        return ForNow(_chosen(found, prepared))
    backend = "onnxruntime" if facts is None else "tensorrt"
    others = [(backend, precision) for precision in (AUTO, "int8", "fp16", "tf32", "fp32")]
    for other, precision in [*others, ("onnxruntime", AUTO)]:
        stand_in = replace(wish, backend=other, precision=precision)
        instead = _select(stand_in, facts if other == "tensorrt" else None, prepared, state_dir, spec)
        if instead.usable and (instead.engine is not None or other == "onnxruntime"):
            chosen = replace(_chosen(instead._replace(missing=None), prepared), note="")
            return ForNow(chosen, backend, found.missing.what)
    raise found.missing.error()


def meanwhile(wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ChosenEngine:
    """What a daemon that serves while it builds is going to run first; see `choose_for_now`."""
    found = choose_for_now(wish, prepared, state_dir, spec)
    return replace(found.engine, note=f"edged run builds while it serves: {found.what}" if found.what else "")


def foresee(wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ChosenEngine:
    """What a daemon that builds at its start is going to run: the engine that is there, or one yet to be built.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
    """
    facts = facts_here(wish.backend, wish.device)
    found = _select(wish, facts, prepared, state_dir, spec)
    if found.missing is None:
        return _chosen(found, prepared)
    return ChosenEngine(
        backend="onnxruntime" if facts is None else "tensorrt",
        precision=wish.precision,
        key="",
        path="",
        max_batch=None,
        note=f"edged run builds the engine first: {found.missing.what}",
    )


def _select(
    wish: EngineWish, facts: DeviceFacts | None, prepared: PreparedModel, state_dir: Path, spec: Path
) -> Selection:
    return select(
        state_dir,
        prepared.model_id,
        prepared.digest,
        wish.backend,
        wish.precision,
        facts,
        # A fixed batch is smaller than what may be asked for, and then what the daemon goes by.
        max_batch=None if prepared.fixed_batch else wish.max_batch,
        spec=str(spec),
    )


def _chosen(found: Selection, prepared: PreparedModel) -> ChosenEngine:
    note = ""
    if found.missing is not None:
        note = f"{found.backend} runs the model: {found.missing.what}; to build an engine: {found.missing.command}"
    if found.engine is None:
        return ChosenEngine(
            backend=found.backend,
            precision=found.precision,
            key=prepared.digest[:_KEY_CHARACTERS],
            path=prepared.path,
            max_batch=None,
            note=note,
        )
    manifest = found.engine.manifest
    return ChosenEngine(
        backend=found.backend,
        precision=found.precision,
        key=found.engine.key,
        path=str(found.engine.path),
        max_batch=manifest.max_batch,
        plugins=tuple(plugin.path for plugin in manifest.plugins),
        note=note,
        agreement_bound=manifest.agreement_bound,
    )
