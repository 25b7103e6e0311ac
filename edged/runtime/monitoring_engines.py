# SPDX-License-Identifier: Apache-2.0
"""Engines in the store that the governor may put in the configured one's place."""

from __future__ import annotations

from pathlib import Path

from edged.engine.manifest import Manifest
from edged.engine.store import model_folder, read_current, read_engine
from edged.errors import EdgedError
from edged.monitor.governor.loads import SmallerEngine
from edged.records import TensorSpec
from edged.runtime.briefing import Prepared


def smaller_engines(state_dir: Path, prepared: Prepared) -> list[SmallerEngine]:
    """Those of the same model and backend that were measured to be quicker when both were built.

    Args:
        state_dir: ``daemon.state_dir``.
        prepared: what runs.

    Returns:
        None at all where the store cannot be read, or holds nothing else: the governor does without.
    """
    model = prepared.model
    folder = model_folder(state_dir, model.id)
    try:
        current = read_current(folder).engines
    except EdgedError:
        return []
    own = _manifest(folder, model.engine)
    found: list[SmallerEngine] = []
    for name, key in current.items():
        backend, _, _ = name.partition("/")
        if backend != model.backend or key in (model.engine, *(each.key for each in found)):
            continue
        other = _manifest(folder, key)
        if other is None or not _fits(prepared, other, own):
            continue
        cost = _cost(model.engine, model.precision, other, own)
        if cost is not None and cost < 1:
            found.append(SmallerEngine(key, cost))
    return found


def _manifest(folder: Path, key: str) -> Manifest | None:
    """Of an engine; None where it cannot be read, or is the prepared graph, which nobody built."""
    try:
        return read_engine(folder, key).manifest
    except EdgedError:
        return None


def _fits(prepared: Prepared, other: Manifest, own: Manifest | None) -> bool:
    """Whether an engine may take the place of what runs, in the same rings."""
    roomy = other.max_batch is None or other.max_batch >= prepared.max_batch
    if other.fixed_batch != prepared.fixed_batch or not roomy:
        return False
    if own is not None:
        return _outputs(own) == _outputs(other)
    return (
        tuple(TensorSpec(name, dtype, shape[1:]) for name, dtype, shape in _outputs(other)) == prepared.outputs.tensors
    )


def _outputs(manifest: Manifest) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(it.name, it.dtype, it.shape) for it in manifest.tensors if it.role == "output"]


def _cost(key: str, precision: str, other: Manifest, own: Manifest | None) -> float | None:
    """What a frame costs on the other, as a part of what it costs now; None where they were not compared."""
    for manifest in (own, other):
        if manifest is None:
            continue
        mine = _times(manifest, key, precision)
        its = _times(manifest, other.key, other.fields.precision)
        batches = sorted(mine.keys() & its.keys(), key=_number)
        if batches and mine[batches[-1]] > 0:
            return its[batches[-1]] / mine[batches[-1]]
    return None


def _times(manifest: Manifest, key: str, precision: str) -> dict[str, float]:
    """What a build measured of an engine, by batch size; nothing where it did not race it.

    Of several candidates with its precision only one is this engine. Where the file does not say which, and for the
    prepared graph, which has no engine's key, it is the chosen one rather than one that was left.
    """
    timed = [each for each in manifest.candidates if each.latency_ms]
    exact = [each for each in timed if each.key == key]
    alike = [each for each in timed if each.precision == precision]
    chosen = [each for each in alike if each.note.endswith(": chosen")]
    return next((each.latency_ms for each in (*exact, *chosen, *alike)), {})


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
