# SPDX-License-Identifier: Apache-2.0
"""Which engine a daemon runs: what ``edged run`` asks before it starts. Cheap to import."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edged.engine.key import Backend, DeviceFacts
from edged.engine.store import AUTO, Found, Mismatch, Wanted, build_command, find
from edged.errors import DeviceUnavailableError, EngineError


class Selection(NamedTuple):
    """What to run.

    Attributes:
        backend: what runs it.
        precision: of what runs; ``auto`` where nothing can run.
        engine: the engine; None for the prepared graph itself, which ONNX Runtime takes as it is.
        missing: the better engine that is not there or not valid here, and why; None where nothing is amiss.
        usable: whether there is something to run.
    """

    backend: Backend
    precision: str
    engine: Found | None
    missing: Mismatch | None
    usable: bool

    def require(self) -> Selection:
        """Itself.

        Raises:
            EngineError: there is nothing to run; the error tells which field differs and the command that builds.
        """
        if not self.usable and self.missing is not None:
            raise self.missing.error()
        return self


def select(
    state_dir: Path,
    model_id: str,
    prepared_digest: str,
    backend: str = AUTO,
    precision: str = AUTO,
    facts: DeviceFacts | None = None,
    *,
    max_batch: int | None = None,
    spec: str = "SPEC.toml",
) -> Selection:
    """Choose what to run.

    ONNX Runtime takes a built engine, else the prepared graph in FP32. ``auto`` is TensorRT where there is a GPU and an
    engine was built for it, else ONNX Runtime. An engine that was built and is not valid any more is an error, never a
    reason to fall back to the CPU in silence.

    Args:
        state_dir: as in the settings.
        model_id: the spec's id.
        prepared_digest: of the prepared graph.
        backend: ``auto``, ``tensorrt`` or ``onnxruntime``.
        precision: ``auto``, ``int8``, ``fp16``, ``tf32`` or ``fp32``.
        facts: the GPU and its TensorRT; None where either is missing.
        max_batch: frames in a batch that the engine must take; None for what it takes.
        spec: path of the model spec, for the command that builds.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
    """
    wanted = Wanted(model_id, prepared_digest, "tensorrt", precision, facts, max_batch, spec)
    if backend == "tensorrt" and facts is None:
        raise DeviceUnavailableError(
            "the tensorrt backend needs an NVIDIA GPU and TensorRT",
            where="engine.backend",
            remedy='see edged doctor, or use "auto" or "onnxruntime"',
        )
    if backend == "onnxruntime" or facts is None:
        return _on_cpu(state_dir, wanted)
    found = _look(state_dir, wanted)
    if isinstance(found, Found):
        return Selection("tensorrt", found.manifest.fields.precision, found, None, True)
    if backend == "tensorrt" or found.kind != "missing":
        return Selection("tensorrt", AUTO, None, found, False)
    # A precision that only TensorRT has must not end as a complaint about ONNX Runtime.
    fallback = _on_cpu(state_dir, wanted)
    return fallback._replace(missing=found) if fallback.usable else Selection("tensorrt", AUTO, None, found, False)


def _on_cpu(state_dir: Path, wanted: Wanted) -> Selection:
    """ONNX Runtime: the built engine, else the prepared graph, which is FP32 and valid everywhere."""
    wanted = wanted._replace(backend="onnxruntime")
    found = _look(state_dir, wanted)
    if isinstance(found, Found):
        return Selection("onnxruntime", found.manifest.fields.precision, found, None, True)
    if wanted.precision in (AUTO, "fp32"):
        # An engine that is missing or outdated is but a copy of the prepared graph; a broken one is worth a word.
        return Selection("onnxruntime", "fp32", None, found if found.kind == "broken" else None, True)
    return Selection("onnxruntime", AUTO, None, found, False)


def _look(state_dir: Path, wanted: Wanted) -> Found | Mismatch:
    try:
        return find(state_dir, wanted)
    except EngineError as error:
        return Mismatch("broken", Path(error.where), error.what, (), build_command(state_dir, wanted) + " --force")
