# SPDX-License-Identifier: Apache-2.0
"""The one place where a CUDA call's outcome is looked at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edged.errors import DeviceUnavailableError, EdgedError
from edged.gpu.codes import CAPTURE, MEANINGS, MISSING, NOT_READY, OUT_OF_MEMORY, STICKY, Meaning
from edged.gpu.errors import CaptureError, CudaError, GpuLostError, GpuMemoryError


def check(result: Sequence[Any], doing: str) -> Any:
    """Values of a driver call, or an error that says what failed and what was being done.

    Args:
        result: what ``cuda.bindings.driver`` returned: the error number first, then the values.
        doing: what was being done, for example ``copying frames to the GPU (slot 0)``.

    Returns:
        None, the value, or a tuple of the values where there are several.

    Raises:
        CudaError: the call failed; `GpuLostError` where no later call can succeed.
        DeviceUnavailableError: there is no usable GPU.
    """
    if result[0]:
        raise failure(result[0], doing)
    if len(result) == 1:
        return None
    return result[1] if len(result) == 2 else tuple(result[1:])


def ready(result: Sequence[Any], doing: str) -> bool:
    """Whether what a query asked for is done; errors as with `check`."""
    if not result[0]:
        return True
    if int(result[0]) == NOT_READY:
        return False
    raise failure(result[0], doing)


def release(result: Sequence[Any], doing: str) -> None:
    """Look at the outcome of giving something back: on a lost GPU there is nothing left to give back.

    Raises:
        CudaError: anything else, which is a bug.
    """
    if result[0] and int(result[0]) not in STICKY:
        raise failure(result[0], doing)


def failure(code: int, doing: str) -> EdgedError:
    """The error for an error number of the driver (a plain number or the bindings' enumeration member)."""
    number = int(code)
    meaning = MEANINGS.get(number) or _unknown(code)
    name = f"CUDA_ERROR_{meaning.name}"
    what = f"{meaning.text} ({name}, {number})"
    if number in MISSING:
        return DeviceUnavailableError(what, where=doing, remedy=meaning.remedy)
    kind = CudaError
    if number in STICKY:
        kind = GpuLostError
    elif number == OUT_OF_MEMORY:
        kind = GpuMemoryError
    elif number in CAPTURE:
        kind = CaptureError
    return kind(what, where=doing, remedy=meaning.remedy, code=number, name=name)


def _unknown(code: int) -> Meaning:
    name = str(getattr(code, "name", "")).removeprefix("CUDA_ERROR_")
    return Meaning(name or "UNLISTED", "an error that this version of edged has no description for")
