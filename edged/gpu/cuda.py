# SPDX-License-Identifier: Apache-2.0
"""The real GPU, over CUDA's driver interface.

The driver interface and not the runtime: it loads the system's own ``libcuda`` and nothing else, which on a Jetson is
the only one that fits. TensorRT works in the same primary context.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from edged.errors import DeviceUnavailableError, EdgedError
from edged.gpu import load
from edged.gpu.api import DeviceInfo, LiveObject, MemoryInfo, Stream
from edged.gpu.bell import LAUNCH, Bell, Launch
from edged.gpu.calls import check, release
from edged.gpu.cuda_copies import BatchedCopies
from edged.gpu.cuda_memory import CudaDeviceBuffer, CudaHostBuffer, CudaRegisteredHost
from edged.gpu.cuda_streams import CudaEvent, CudaGraph, CudaStream
from edged.gpu.errors import CaptureError, ClosedError, GpuLostError
from edged.gpu.inventory import Inventory

_BLOCKING_SYNC = 4  # CU_CTX_SCHED_BLOCKING_SYNC: waits give the core away instead of spinning
_THREAD_LOCAL = "CU_STREAM_CAPTURE_MODE_THREAD_LOCAL"
_CAPTURE_TURN_S = 60.0
_LAUNCH_SINCE = 12000  # the oldest CUDA that edged runs on; the call is older


class CudaGpu:
    """An NVIDIA GPU in its primary context, current in the thread that makes this.

    Args:
        index: number among the visible GPUs.
        driver: stands in for the module ``cuda.bindings.driver``.

    Raises:
        DeviceUnavailableError: no bindings, no driver, or no such GPU.
    """

    def __init__(self, index: int = 0, *, driver: Any = None) -> None:
        self._driver = driver if driver is not None else load.cuda_driver()
        self.inventory = Inventory()
        self._capturing = threading.Lock()
        where = f"opening GPU {index}"
        try:
            check(self._driver.cuInit(0), where)
        except RuntimeError as error:
            # The bindings' own complaint that there is no libcuda.
            raise DeviceUnavailableError(
                "the NVIDIA driver's library (libcuda) is not here", where=where, remedy="install the NVIDIA driver"
            ) from error
        self._device = check(self._driver.cuDeviceGet(index), where)
        check(self._driver.cuDevicePrimaryCtxSetFlags(self._device, _BLOCKING_SYNC), where)
        self._context = check(self._driver.cuDevicePrimaryCtxRetain(self._device), where)
        self._open = True
        try:
            self.attach_thread()
            self.device = self._describe(index)
            self.batched_copies = BatchedCopies(self._driver, self.device.driver)
            self._launch_host_function = self._host_function_launcher()
        except EdgedError:
            self.close()
            raise

    def _describe(self, index: int) -> DeviceInfo:
        driver, device, doing = self._driver, self._device, f"asking GPU {index} what it is"

        def attribute(name: str) -> int:
            member = getattr(driver.CUdevice_attribute, f"CU_DEVICE_ATTRIBUTE_{name}")
            return int(check(driver.cuDeviceGetAttribute(member, device), doing))

        return DeviceInfo(
            number=index,
            name=_text(check(driver.cuDeviceGetName(256, device), doing)),
            compute_capability=(attribute("COMPUTE_CAPABILITY_MAJOR"), attribute("COMPUTE_CAPABILITY_MINOR")),
            multiprocessors=attribute("MULTIPROCESSOR_COUNT"),
            integrated=bool(attribute("INTEGRATED")),
            can_register=bool(attribute("HOST_REGISTER_SUPPORTED")),
            driver=int(check(driver.cuDriverGetVersion(), doing)),
            total_bytes=int(check(driver.cuDeviceTotalMem(device), doing)),
            bus_id=_text(check(driver.cuDeviceGetPCIBusId(64, device), doing)),
        )

    def _host_function_launcher(self) -> Launch:
        # The bindings' own way takes Python's lock in the driver's thread, whatever the function is.
        outcome = self._driver.cuGetProcAddress(b"cuLaunchHostFunc", _LAUNCH_SINCE, 0)
        address, _ = check(outcome, "looking up cuLaunchHostFunc")
        return LAUNCH(int(address))

    def _use(self) -> Any:
        if not self._open:
            raise ClosedError("the GPU was used after its end", where="gpu")
        return self._driver

    def memory(self) -> MemoryInfo:
        """How much of the device's memory is free now."""
        free, total = check(self._use().cuMemGetInfo(), "asking how much GPU memory is free")
        return MemoryInfo(int(free), int(total))

    def attach_thread(self) -> None:
        """Make the context current in the calling thread."""
        check(self._use().cuCtxSetCurrent(self._context), "attaching a thread to the GPU")

    def stream(self, name: str, *, high_priority: bool = False) -> CudaStream:
        """Make a non-blocking stream."""
        driver, doing = self._use(), f"making stream {name}"
        least, greatest = check(driver.cuCtxGetStreamPriorityRange(), doing)
        priority = greatest if high_priority else least
        return CudaStream(driver, self.inventory, name, priority, self.batched_copies)

    def event(self, name: str, *, timing: bool = False, timed: bool = False, wake_fd: int = -1) -> CudaEvent:
        """Make an event whose waits block instead of spinning."""
        driver = self._use()
        bell = Bell(self._launch_host_function, wake_fd) if timed or wake_fd >= 0 else None
        return CudaEvent(driver, self.inventory, name, timing=timing, bell=bell)

    def device_buffer(self, name: str, size: int) -> CudaDeviceBuffer:
        """Take device memory."""
        return CudaDeviceBuffer(self._use(), self.inventory, name, size)

    def host_buffer(self, name: str, size: int, *, mapped: bool = False) -> CudaHostBuffer:
        """Take page-locked memory."""
        return CudaHostBuffer(self._use(), self.inventory, name, size, mapped=mapped)

    def register(self, name: str, address: int, size: int, *, mapped: bool = False) -> CudaRegisteredHost:
        """Page-lock memory that exists."""
        return CudaRegisteredHost(self._use(), self.inventory, name, address, size, mapped=mapped)

    def capture(self, name: str, stream: Stream, work: Callable[[], None]) -> CudaGraph:
        """Record ``work`` into a graph, see `edged.gpu.api.Gpu.capture`."""
        if not self._capturing.acquire(timeout=_CAPTURE_TURN_S):
            raise CaptureError("another thread's recording does not end", where=f"recording graph {name}")
        try:
            recorded = self._record(name, stream, work)
            try:
                return CudaGraph(self._use(), self.inventory, name, recorded, stream)
            finally:
                release(self._driver.cuGraphDestroy(recorded), f"dropping the recording of graph {name}")
        finally:
            self._capturing.release()

    def _record(self, name: str, stream: Stream, work: Callable[[], None]) -> Any:
        driver, doing = self._use(), f"recording graph {name}"
        mode = getattr(driver.CUstreamCaptureMode, _THREAD_LOCAL)
        check(driver.cuStreamBeginCapture(stream.handle, mode), doing)
        try:
            work()
        except GpuLostError:
            raise
        except EdgedError as error:
            self._abandon(stream)
            raise CaptureError(f"the work cannot be recorded: {error}", where=doing) from error
        except BaseException:
            self._abandon(stream)
            raise
        return check(driver.cuStreamEndCapture(stream.handle), doing)

    def _abandon(self, stream: Stream) -> None:
        """End a recording that failed: until then the stream refuses everything else."""
        outcome = self._driver.cuStreamEndCapture(stream.handle)
        if not outcome[0] and int(outcome[1]):
            release(self._driver.cuGraphDestroy(outcome[1]), "dropping a recording that failed")

    def live(self) -> tuple[LiveObject, ...]:
        """Everything made and not ended yet."""
        return self.inventory.live()

    def close(self) -> tuple[LiveObject, ...]:
        """Wait for all work, end what is left and give the context back."""
        if not self._open:
            return ()
        release(self._driver.cuCtxSynchronize(), "waiting for the GPU's last work")
        leaks = self.inventory.live()
        self.inventory.end_all()
        self._open = False
        release(self._driver.cuDevicePrimaryCtxRelease(self._device), "giving the GPU back")
        return leaks


def _text(value: bytes | str) -> str:
    """A driver's text, which may come with its zero bytes."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    return text.split("\0", 1)[0]
