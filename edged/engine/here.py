# SPDX-License-Identifier: Apache-2.0
"""What engines have to fit on this machine, as far as a backend needs to know."""

from __future__ import annotations

from pathlib import Path

from edged.engine.key import DeviceFacts
from edged.errors import DeviceUnavailableError

_GPU_DEVICES = ("nvidia*", "nvhost-*", "nvgpu*", "nvmap", "dxg")
"""Discrete GPUs, Jetsons, and WSL."""


def facts_here(backend: str, device: int) -> DeviceFacts | None:
    """The GPU and its TensorRT; None where either is missing and ONNX Runtime will do.

    It may open the GPU, so ask in a process that ends soon.

    Args:
        backend: ``auto``, ``tensorrt`` or ``onnxruntime``.
        device: GPU index.

    Raises:
        DeviceUnavailableError: TensorRT was asked for, and there is no GPU or no TensorRT.
    """
    if backend == "onnxruntime" or (backend == "auto" and not _has_gpu_device()):
        return None
    # Loads the driver: only here, and only where it may be used.
    from edged.engine.toolkit import device_facts

    try:
        return device_facts(device)
    except DeviceUnavailableError as error:
        if backend == "tensorrt":
            what = f"the tensorrt backend is not available: {error.what}"
            remedy = f'{error.remedy}, or use "auto" or "onnxruntime"'
            raise DeviceUnavailableError(what, where="engine.backend", remedy=remedy) from error
        return None


def _has_gpu_device(devices: Path = Path("/dev")) -> bool:
    """Whether anything looks like an NVIDIA GPU: loading the driver only to hear that there is none takes time."""
    return any(next(devices.glob(pattern), None) for pattern in _GPU_DEVICES)
