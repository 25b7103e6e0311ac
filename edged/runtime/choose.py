# SPDX-License-Identifier: Apache-2.0
"""Which engine runs: asked in a process that ends soon, because a look at the GPU opens it."""

from __future__ import annotations

from pathlib import Path

from edged.engine.here import facts_here
from edged.engine.key import DeviceFacts
from edged.engine.lookup import Selection, select
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
