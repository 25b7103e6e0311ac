# SPDX-License-Identifier: Apache-2.0
"""Engines in the store that the governor may put in the configured one's place."""

from __future__ import annotations

from pathlib import Path

from edged.engine.manifest import Manifest
from edged.engine.store import model_folder, read_current, read_engine
from edged.errors import EdgedError
from edged.monitor.governor.loads import SmallerEngine
from edged.runtime.briefing import Prepared


def smaller_engines(state_dir: Path, prepared: Prepared) -> list[SmallerEngine]:
    """Those of the same model and backend that were measured to be quicker when both were built.

    Args:
        state_dir: ``daemon.state_dir``.
        prepared: what runs.

    Returns:
        None where the store cannot be read, or holds nothing else: the governor does without.
    """
    model = prepared.model
    folder = model_folder(state_dir, model.id)
    try:
        current = read_current(folder).engines
        own = read_engine(folder, model.engine).manifest
    except EdgedError:
        return []
    found = []
    for name, key in current.items():
        backend, _, _ = name.partition("/")
        if backend != model.backend or key == model.engine:
            continue
        try:
            other = read_engine(folder, key).manifest
        except EdgedError:
            continue
        cost = _cost(own, other)
        if cost is not None and cost < 1 and _fits(own, other):
            found.append(SmallerEngine(key, cost))
    return found


def _fits(own: Manifest, other: Manifest) -> bool:
    """Whether one may take the other's place in the same rings."""
    outputs = [[it for it in manifest.tensors if it.role == "output"] for manifest in (own, other)]
    shapes = [[(it.name, it.dtype, it.shape) for it in each] for each in outputs]
    return shapes[0] == shapes[1] and (own.fixed_batch, own.max_batch) == (other.fixed_batch, other.max_batch)


def _cost(own: Manifest, other: Manifest) -> float | None:
    """What a frame costs on the other, as a part of what it costs on the own; None where they were not compared."""
    for manifest in (own, other):
        times = {candidate.precision: candidate.latency_ms for candidate in manifest.candidates}
        mine, its = times.get(own.fields.precision, {}), times.get(other.fields.precision, {})
        batches = sorted(mine.keys() & its.keys(), key=_number)
        if batches and mine[batches[-1]] > 0:
            return its[batches[-1]] / mine[batches[-1]]
    return None


def _number(text: str) -> int:
    return int(text) if text.isdecimal() else 0
