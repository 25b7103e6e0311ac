# SPDX-License-Identifier: Apache-2.0
"""What a GPU is to the rest of edged.

One `Gpu` makes everything and counts what is alive. Each thing has one owner, who ends it with ``close``; a second
``close`` does nothing, any other use after it raises `edged.gpu.errors.ClosedError`. Copies are asynchronous: source
and target belong to the stream until an event recorded behind the copy has been reached. Host memory that is copied
from or to must be page-locked (`HostBuffer`, `RegisteredHost`) and is named by its address. All errors are those of
`edged.gpu.calls.check`.

``cuda.CudaGpu`` is the real one, ``fake.FakeGpu`` the accounting one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray


class DeviceInfo(NamedTuple):
    """What the device is.

    Attributes:
        number: among the visible GPUs.
        name: as the driver gives it.
        compute_capability: major, minor.
        multiprocessors: how many.
        integrated: whether it shares the memory of the CPU.
        can_register: whether existing host memory can be page-locked.
        driver: CUDA version of the driver, 1000·major + 10·minor.
        total_bytes: memory of the device.
        bus_id: PCI address, for finding it in other tools; empty where there is none.
    """

    number: int
    name: str
    compute_capability: tuple[int, int]
    multiprocessors: int
    integrated: bool
    can_register: bool
    driver: int
    total_bytes: int
    bus_id: str


class MemoryInfo(NamedTuple):
    """Memory of the device in bytes, over all processes."""

    free: int
    total: int


class LiveObject(NamedTuple):
    """Something that was made and not ended: its kind, what it is for, bytes."""

    kind: str
    name: str
    size: int


class Owned(Protocol):
    """Anything with an owner and an explicit end."""

    @property
    def name(self) -> str:
        """What it is for."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it was ended."""
        ...

    def close(self) -> None:
        """End it; the owner sees to it that no work in flight uses it any more."""
        ...


class DeviceBuffer(Owned, Protocol):
    """Memory of the device, aligned to 256 bytes at least."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def address(self) -> int:
        """Device address; raises after the end."""
        ...


class HostMemory(Owned, Protocol):
    """Page-locked memory of the host, which the device reads and writes by itself."""

    @property
    def size(self) -> int:
        """Bytes."""
        ...

    @property
    def address(self) -> int:
        """Host address; raises after the end."""
        ...

    @property
    def device_address(self) -> int:
        """The same memory as the device sees it; raises where it was not asked to be mapped."""
        ...


class HostBuffer(HostMemory, Protocol):
    """Page-locked memory of its own."""

    @property
    def array(self) -> NDArray[np.uint8]:
        """The whole buffer; raises after the end."""
        ...


class RegisteredHost(HostMemory, Protocol):
    """Memory that existed before, for example a shared-memory ring, page-locked until ``close``."""


class Event(Owned, Protocol):
    """A point in a stream."""

    @property
    def handle(self) -> int:
        """For TensorRT."""
        ...

    def record(self, stream: Stream) -> None:
        """Move the event to the stream's current end."""
        ...

    def done(self) -> bool:
        """Whether the point was reached (or never set); never waits."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for the point without using the CPU; False when the time ran out first.

        CUDA itself knows no timed wait: only an event made with ``timed=True`` keeps the limit. Any other one waits to
        the end, for a GPU that hangs until the process is ended from outside. Where the event sets a wake-up of the
        caller's, that stays set if it was set meanwhile.
        """
        ...

    def since(self, earlier: Event) -> float:
        """Milliseconds from another event to this one; both made with ``timing=True`` and reached."""
        ...


class Stream(Owned, Protocol):
    """A queue of work; it never waits for the default stream."""

    @property
    def handle(self) -> int:
        """For TensorRT."""
        ...

    def copy_in(self, target: DeviceBuffer, offset: int, source: int, size: int) -> None:
        """Copy ``size`` bytes from host address ``source`` to ``target`` at ``offset``."""
        ...

    def copy_in_pieces(self, target: DeviceBuffer, pieces: Sequence[tuple[int, int]]) -> None:
        """Copy pieces, each a host address and bytes, side by side into ``target`` from its start."""
        ...

    def copy_out(self, target: int, source: DeviceBuffer, offset: int, size: int) -> None:
        """Copy ``size`` bytes from ``source`` at ``offset`` to host address ``target``."""
        ...

    def copy_across(self, target: DeviceBuffer, source: DeviceBuffer, size: int) -> None:
        """Copy the first ``size`` bytes from one buffer of the device to another."""
        ...

    def wait(self, event: Event) -> None:
        """What is enqueued from now on starts only when the event's point, as it stands now, is reached."""
        ...

    def done(self) -> bool:
        """Whether everything enqueued is done; never waits. Also brings a lost GPU to light."""
        ...

    def synchronize(self) -> None:
        """Wait for everything enqueued. For start and end only: it has no deadline."""
        ...


class Graph(Owned, Protocol):
    """Recorded work, ready to be started with one call. Addresses and shapes are fixed in it."""

    def launch(self, stream: Stream) -> None:
        """Enqueue the recorded work."""
        ...


class Gpu(Protocol):
    """A device, opened by this process."""

    @property
    def device(self) -> DeviceInfo:
        """What it is."""
        ...

    def memory(self) -> MemoryInfo:
        """How much of its memory is free now."""
        ...

    def attach_thread(self) -> None:
        """Make the device usable in the calling thread; the thread that opened it has it already."""
        ...

    def stream(self, name: str, *, high_priority: bool = False) -> Stream:
        """Make a stream."""
        ...

    def event(self, name: str, *, timing: bool = False, timed: bool = False, wake_fd: int = -1) -> Event:
        """Make an event.

        Args:
            name: what it is for.
            timing: for `Event.since`.
            timed: for waits with a limit.
            wake_fd: an eventfd that is set whenever the event is reached, so that one wait serves for this and for
                whatever else sets it; implies ``timed``. It stays the caller's, open until the event's end. On a GPU
                that is lost it may never be set.
        """
        ...

    def device_buffer(self, name: str, size: int) -> DeviceBuffer:
        """Take ``size`` bytes of the device's memory; what they hold is undefined."""
        ...

    def host_buffer(self, name: str, size: int, *, mapped: bool = False) -> HostBuffer:
        """Take ``size`` bytes of page-locked memory, ``mapped`` into the device's address space if so asked."""
        ...

    def register(self, name: str, address: int, size: int, *, mapped: bool = False) -> RegisteredHost:
        """Page-lock memory that exists; it must outlive the registration. Refused on some devices (`CudaError`)."""
        ...

    def capture(self, name: str, stream: Stream, work: Callable[[], None]) -> Graph:
        """Record what ``work`` enqueues on ``stream`` instead of doing it.

        ``work`` must have run for real before, so that lazy initialisation is not recorded. Nothing of other streams
        may be waited for. While it runs no other thread of the process may capture.

        Raises:
            CaptureError: it cannot be recorded; the stream is usable as before.
        """
        ...

    def live(self) -> tuple[LiveObject, ...]:
        """Everything made and not ended yet, oldest first."""
        ...

    def close(self) -> tuple[LiveObject, ...]:
        """Give the device back.

        Returns:
            What nobody had ended: leaks. They are ended here.
        """
        ...
