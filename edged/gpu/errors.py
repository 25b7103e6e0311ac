# SPDX-License-Identifier: Apache-2.0
"""What goes wrong on a GPU.

EdgedError
├── CudaError              70  a CUDA call failed
│   ├── GpuLostError       75  … and every later one in this process will too
│   ├── GpuMemoryError     69  … because memory ran out
│   └── CaptureError       70  … while a graph was recorded; running without the graph still works
├── ClosedError            70  something was used after its end (a bug)
├── AccountingError        70  the accounting GPU found a race or a leak (a bug)
├── EngineError            78  TensorRT refuses an engine or a model (`edged.errors.EngineError`)
└── EngineRunError         70  TensorRT could not run an engine
"""

from __future__ import annotations

from typing import ClassVar

from edged.errors import DeviceUnavailableError, EdgedError, InternalError, RestartWantedError


class CudaError(EdgedError):
    """A CUDA call that failed.

    Args:
        what: meaning of the error, and its symbolic name.
        where: what was being done.
        remedy: what to do about it.
        code: the driver's number, for example 2.
        name: its symbolic name, for example ``CUDA_ERROR_OUT_OF_MEMORY``.
    """

    sticky: ClassVar[bool] = False

    def __init__(self, what: str, *, where: str = "", remedy: str = "", code: int = 0, name: str = "") -> None:
        super().__init__(what, where=where, remedy=remedy)
        self.code = code
        self.name = name

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.remedy, self.code, self.name)


def _rebuild(kind: type[CudaError], what: str, where: str, remedy: str, code: int, name: str) -> CudaError:
    """Recreate an error that crossed a process boundary."""
    return kind(what, where=where, remedy=remedy, code=code, name=name)


class GpuLostError(CudaError, RestartWantedError):
    """The CUDA context is beyond repair: only a new process can go on."""

    exit_code = 75
    sticky = True


class GpuMemoryError(CudaError, DeviceUnavailableError):
    """No memory left on the device, or none that may be page-locked."""

    exit_code = 69


class CaptureError(CudaError):
    """A graph could not be recorded; the stream is usable again and nothing of the graph is left."""


class ClosedError(InternalError):
    """A stream, event, buffer, graph, engine or GPU was used after its end."""


class AccountingError(InternalError):
    """The accounting GPU saw an access that real hardware may reorder, or an object that nobody ended."""


class EngineRunError(InternalError):
    """TensorRT could not enqueue an engine."""
