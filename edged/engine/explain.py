# SPDX-License-Identifier: Apache-2.0
"""``edged-build-engine explain``: which engine is current and why, or what keeps it from being valid here."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edged.engine.key import Backend, DeviceFacts
from edged.engine.manifest import Candidate, Manifest
from edged.engine.source import changes, source_of
from edged.engine.store import (
    AUTO,
    Wanted,
    build_command,
    model_folder,
    read_current,
    read_engine,
    rebuild_command,
    unfit,
    verify,
)
from edged.engine.summary import facts, gpu_memory, size, table
from edged.errors import DeviceUnavailableError, EngineError
from edged.graph.prepare import spec_digest
from edged.model import ModelSpec
from edged.model_file import load_spec

BACKENDS: tuple[Backend, ...] = ("tensorrt", "onnxruntime")
NOT_VALID = EngineError.exit_code


@dataclass(frozen=True)
class Question:
    """What is asked.

    Attributes:
        spec: path of the model spec.
        state_dir: of the store.
        backend: ``auto`` for all.
        precision: of the engine.
        ask: tells what engines have to fit here; raises `DeviceUnavailableError` without a GPU or TensorRT.
    """

    spec: Path
    state_dir: Path
    backend: str
    precision: str
    ask: Callable[[], DeviceFacts]


def explain(question: Question) -> tuple[str, int]:
    """What there is to say, and the exit code: 0 where an engine is valid here.

    Raises:
        ModelError: the model spec or its files cannot be read.
        EngineError: the store is broken.
    """
    spec = load_spec(question.spec)
    digest = spec_digest(spec)
    folder = model_folder(question.state_dir, spec.id)
    current = read_current(folder).engines
    here, absence = _ask(question)
    parts, valid = [], False
    for backend in BACKENDS:
        if question.backend not in (AUTO, backend):
            continue
        wanted = Wanted(spec.id, digest, backend, question.precision, here, spec=str(question.spec))
        name = f"{backend}/{question.precision}"
        command = build_command(question.state_dir, wanted)
        if name not in current:
            parts.append(table([(name, "never built"), ("build it", command)]))
            continue
        text, fits = _engine(name, folder, current[name], wanted, spec, absence, command)
        parts.append(text)
        valid = valid or fits
    return "\n\n".join([*parts, _overview(spec.id, folder, current)]), 0 if valid else NOT_VALID


def _overview(model_id: str, folder: Path, current: dict[str, str]) -> str:
    """Every engine that is current for some backend and precision, in a line each."""
    if not current:
        return f"built so far for {model_id}: nothing"
    rows = []
    for key in dict.fromkeys(key for _, key in sorted(current.items())):
        names = ", ".join(sorted(name for name, one in current.items() if one == key))
        try:
            manifest = read_engine(folder, key).manifest
        except EngineError as error:
            rows.append((names, f"broken: {error.what}"))
            continue
        on_gpu = manifest.fields.backend == "tensorrt"
        memory = f"; GPU memory: {gpu_memory(manifest)}" if on_gpu else ""
        rows.append((names, f"file {size(manifest.size)}{memory}"))
    return f"built so far for {model_id}:\n{table(rows)}"


def _ask(question: Question) -> tuple[DeviceFacts | None, str]:
    if question.backend == "onnxruntime":
        return None, ""
    try:
        return question.ask(), ""
    except DeviceUnavailableError as error:
        return None, str(error)


def _engine(
    name: str, folder: Path, key: str, wanted: Wanted, spec: ModelSpec, absence: str, command: str
) -> tuple[str, bool]:
    """One engine: what it is, and whether it is valid here."""
    try:
        engine = read_engine(folder, key)
        verify(engine)
    except EngineError as error:
        return table([(name, "broken"), ("why", str(error)), ("build it again", f"{command} --force")]), False
    manifest = engine.manifest
    found = unfit(manifest, wanted)
    where, made = str(engine.path), _date(manifest.created_at)
    rows = [(name, "valid here" if not found else "not valid here"), ("where", where), ("made", made)]
    if absence and wanted.backend == "tensorrt":
        rows.append(("here", absence))
    else:
        rows += [("differs", str(difference)) for difference in found]
    rows += [("differs", text) for text in _model_changes(manifest, spec, wanted)]
    rows += facts(manifest)
    rows += [("considered", _considered(one)) for one in manifest.candidates]
    again = rebuild_command(command, engine, wanted)
    return table([*rows, *([("build it again", again)] if found else [])]), not found


def _date(at: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))
    except (OverflowError, OSError, ValueError):  # beyond all calendars
        return "unknown"


def _considered(one: Candidate) -> str:
    """A candidate with what was measured: ``int8 (86%): AP 33.80, loss 0.40; 6.00 ms at batch 8; chosen``."""
    name, _, note = one.note.partition(": ")
    parts = [
        ", ".join(f"{metric} {value:.2f}" for metric, value in one.accuracy.items()),
        ", ".join(f"{latency:.3g} ms at batch {batch}" for batch, latency in one.latency_ms.items()),
        note,
    ]
    return f"{name or one.precision}: {'; '.join(part for part in parts if part)}"


def _model_changes(manifest: Manifest, spec: ModelSpec, wanted: Wanted) -> list[str]:
    """What became of the model since the engine was built."""
    if manifest.fields.model == wanted.model:
        return []
    found = changes(manifest.source, source_of(spec, Path(wanted.spec)))
    return found or [f"the version of edged: built with {manifest.versions.get('edged', 'another')}"]
