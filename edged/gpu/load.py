# SPDX-License-Identifier: Apache-2.0
"""Finds the CUDA and TensorRT bindings when they are first needed, and says what to install where they are missing."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from edged.errors import DeviceUnavailableError

_INSTALL = (
    "install edged[tensorrt-cu12] or edged[tensorrt-cu13], whichever fits the driver; on a Jetson use the system's "
    "TensorRT (a virtual environment made with --system-site-packages) and pip install 'cuda-python>=12.9.10,<13'"
)


def cuda_driver() -> Any:
    """The module ``cuda.bindings.driver``.

    Raises:
        DeviceUnavailableError: it is not installed or too old.
    """
    try:
        return import_module("cuda.bindings.driver")
    except ImportError as error:
        raise DeviceUnavailableError(
            f"CUDA's Python bindings cannot be imported ({error})", where="cuda.bindings.driver", remedy=_INSTALL
        ) from error


def tensorrt(module: str = "tensorrt") -> Any:
    """The module ``tensorrt`` (or a drop-in, for example ``tensorrt_rtx``).

    Raises:
        DeviceUnavailableError: it is not installed, or one of the libraries it loads is missing.
    """
    try:
        return import_module(module)
    except (ImportError, OSError) as error:
        raise DeviceUnavailableError(f"TensorRT cannot be imported ({error})", where=module, remedy=_INSTALL) from error
