# SPDX-License-Identifier: Apache-2.0
"""Which engine runs: asked in a process that ends soon, because a look at the GPU opens it."""

from __future__ import annotations

from pathlib import Path

from edged.engine.key import DeviceFacts
from edged.engine.lookup import select
from edged.errors import DeviceUnavailableError
from edged.graph.prepare import PreparedModel
from edged.runtime.plans import ChosenEngine, EngineWish

_KEY_CHARACTERS = 16
_GPU_DEVICES = ("nvidia*", "nvhost-*", "nvgpu*", "nvmap", "dxg")
"""Discrete GPUs, Jetsons, and WSL."""


def choose(wish: EngineWish, prepared: PreparedModel, state_dir: Path, spec: Path) -> ChosenEngine:
    """Choose the engine for a prepared model on this machine.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
        EngineError: the engine asked for was not built, or is not valid here; the error tells what differs and the
            command that builds it.
    """
    found = select(
        state_dir,
        prepared.model_id,
        prepared.digest,
        wish.backend,
        wish.precision,
        _facts(wish),
        max_batch=wish.max_batch,
        spec=str(spec),
    ).require()
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
    )


def _facts(wish: EngineWish) -> DeviceFacts | None:
    """The GPU and its TensorRT; None where either is missing and ONNX Runtime will do."""
    if wish.backend == "onnxruntime" or (wish.backend == "auto" and not _has_gpu_device()):
        return None
    # Loads the driver: only here, and only where it may be used.
    from edged.engine.toolkit import device_facts

    try:
        return device_facts(wish.device)
    except DeviceUnavailableError as error:
        if wish.backend == "tensorrt":
            what = f"the tensorrt backend is not available: {error.what}"
            remedy = f'{error.remedy}, or use "auto" or "onnxruntime"'
            raise DeviceUnavailableError(what, where="engine.backend", remedy=remedy) from error
        return None


def _has_gpu_device(devices: Path = Path("/dev")) -> bool:
    """Whether anything looks like an NVIDIA GPU: loading the driver only to hear that there is none takes time."""
    return any(next(devices.glob(pattern), None) for pattern in _GPU_DEVICES)
