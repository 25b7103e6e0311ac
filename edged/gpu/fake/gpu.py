# SPDX-License-Identifier: Apache-2.0
"""The accounting GPU itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import cast

from edged.errors import EdgedError
from edged.gpu.api import DeviceInfo, LiveObject, MemoryInfo, Stream
from edged.gpu.calls import failure
from edged.gpu.codes import NOT_SUPPORTED, OUT_OF_MEMORY
from edged.gpu.engines import EngineInfo, ShapeRange, TensorInfo
from edged.gpu.errors import AccountingError, CaptureError, ClosedError, GpuLostError
from edged.gpu.fake.engine import FakeEngine, Function, Infer
from edged.gpu.fake.machine import Machine
from edged.gpu.fake.memory import FakeDeviceBuffer, FakeHostBuffer, FakeRegisteredHost
from edged.gpu.fake.streams import FakeEvent, FakeGraph, FakeStream
from edged.gpu.inventory import describe

_DEVICE_KINDS = ("device", "activations")


class FakeGpu:
    """Behaves as `edged.gpu.api.Gpu` says, does things as late as it may, and raises `AccountingError` on a race.

    Args:
        total_bytes: memory of the device; taking more fails as on a real one.
        integrated: share the memory of the CPU.
        can_register: whether memory can be page-locked after it was made.
    """

    def __init__(self, *, total_bytes: int = 1 << 30, integrated: bool = False, can_register: bool = True) -> None:
        self.machine = Machine()
        self._open = True
        self.device = DeviceInfo(
            number=0,
            name="accounting GPU",
            compute_capability=(8, 7),
            multiprocessors=1,
            integrated=integrated,
            can_register=can_register,
            driver=12060,
            total_bytes=total_bytes,
            bus_id="",
        )

    # what every GPU does ---------------------------------------------------------------------------------------------

    def memory(self) -> MemoryInfo:
        """How much memory is free now."""
        self._hit("memory", "asking how much GPU memory is free")
        total = self.device.total_bytes
        return MemoryInfo(total - self.machine.inventory.size(*_DEVICE_KINDS), total)

    def attach_thread(self) -> None:
        """Nothing to attach."""
        if not self._open:
            raise ClosedError("the GPU was used after its end", where="gpu")

    def stream(self, name: str, *, high_priority: bool = False) -> FakeStream:  # noqa: ARG002 - nothing to prefer
        """Make a stream."""
        self._hit("stream", f"making stream {name}")
        return FakeStream(self.machine, name)

    def event(self, name: str, *, timing: bool = False, timed: bool = False, wake_fd: int = -1) -> FakeEvent:
        """Make an event."""
        self._hit("event", f"making event {name}")
        return FakeEvent(self.machine, name, timing=timing, timed=timed, wake_fd=wake_fd)

    def device_buffer(self, name: str, size: int) -> FakeDeviceBuffer:
        """Take device memory."""
        doing = f"taking {size} bytes of GPU memory for {name}"
        self._hit("device_buffer", doing)
        if size > self.device.total_bytes - self.machine.inventory.size(*_DEVICE_KINDS):
            raise failure(OUT_OF_MEMORY, doing)
        return FakeDeviceBuffer(self.machine, name, size)

    def host_buffer(self, name: str, size: int, *, mapped: bool = False) -> FakeHostBuffer:
        """Take page-locked memory."""
        self._hit("host_buffer", f"page-locking {size} bytes for {name}")
        return FakeHostBuffer(self.machine, name, size, mapped=mapped)

    def register(self, name: str, address: int, size: int, *, mapped: bool = False) -> FakeRegisteredHost:
        """Page-lock memory that exists."""
        doing = f"page-locking the {size} bytes of {name}"
        self._hit("register", doing)
        if not self.device.can_register:
            raise failure(NOT_SUPPORTED, doing)
        return FakeRegisteredHost(self.machine, name, address, size, mapped=mapped)

    def capture(self, name: str, stream: Stream, work: Callable[[], None]) -> FakeGraph:
        """Record ``work``."""
        doing = f"recording graph {name}"
        self._hit("capture", doing)
        fake = cast(FakeStream, stream)
        fake.not_recording(doing)
        fake.queue.recording = []
        try:
            work()
            recorded = fake.queue.recording
        except (AccountingError, GpuLostError):
            raise
        except EdgedError as error:
            raise CaptureError(f"the work cannot be recorded: {error}", where=doing) from error
        finally:
            fake.queue.recording = None
        self._hit("instantiate", f"making graph {name} executable")
        return FakeGraph(self.machine, name, recorded)

    def live(self) -> tuple[LiveObject, ...]:
        """Everything made and not ended yet."""
        return self.machine.inventory.live()

    def close(self) -> tuple[LiveObject, ...]:
        """Give the device back.

        Raises:
            AccountingError: something was not ended. On a lost GPU that is returned instead.
        """
        if not self._open:
            return ()
        leaks = self.live()
        self._open = False
        if leaks and not self.machine.faults.lost:
            raise AccountingError(f"nobody ended {describe(leaks)}", where="gpu")
        return leaks

    # what only this one does -----------------------------------------------------------------------------------------

    def engine(
        self,
        name: str,
        tensors: Sequence[TensorInfo],
        function: Function,
        *,
        infer: Infer | None = None,
        activation_bytes: int = 1024,
        cost_ms: float = 1.0,
    ) -> FakeEngine:
        """Make an engine of a function, see `edged.gpu.fake.engine.FakeEngine`."""
        profiles = max(len(tensor.ranges) for tensor in tensors)
        memory = (activation_bytes,) * profiles
        info = EngineInfo(name, tuple(tensors), profiles, memory, layers=1, aux_streams=0, plan_bytes=0)
        return FakeEngine(self.machine, info, function, infer=infer, cost_ms=cost_ms)

    def fail_at(self, call: str, nth: int, error: int | Exception) -> None:
        """Have a call fail, see `edged.gpu.fake.faults.Faults.plan`."""
        self.machine.faults.plan(call, nth, error)

    @property
    def calls(self) -> Counter[str]:
        """How often each call was made."""
        return self.machine.faults.counts

    def advance(self, steps: int = 1, choose: Callable[[int], int] = lambda _: 0) -> int:
        """Do up to ``steps`` operations, each of a stream that ``choose`` picks; tells how many were done."""
        return self.machine.advance(steps, choose)

    def stall(self, stalled: bool = True) -> None:
        """Hang, or go on."""
        self.machine.stalled = stalled

    def host_writes(self, address: int, size: int) -> None:
        """Say that the host writes to page-locked memory now; raises if the device may be at it."""
        self.machine.touch_host(self.machine.space.host(address, size, "writing"), write=True, what="writing")

    def host_reads(self, address: int, size: int) -> None:
        """Say that the host reads page-locked memory now; raises if the device may still write it."""
        self.machine.touch_host(self.machine.space.host(address, size, "reading"), write=False, what="reading")

    def _hit(self, call: str, doing: str) -> None:
        if not self._open:
            raise ClosedError("the GPU was used after its end", where="gpu")
        self.machine.faults.hit(call, doing)


def batch_range(sizes: tuple[int, int, int], frame: tuple[int, ...]) -> ShapeRange:
    """A profile's range of batches of one frame shape: smallest, best and largest batch."""
    low, best, high = ((size, *frame) for size in sizes)
    return ShapeRange(low, best, high)
