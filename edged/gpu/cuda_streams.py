# SPDX-License-Identifier: Apache-2.0
"""Streams, events and graphs of the real GPU.

What a call needs is kept ready in attributes, and the texts for errors are made once: a batch costs a dozen of these
calls, and its host time is counted in microseconds.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.calls import check, ready, release
from edged.gpu.inventory import Inventory, Owned
from edged.gpu.semaphore import Semaphore

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_BLOCKING_SYNC, _NO_TIMING = 1, 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING
_LOOK_S = 0.1
"""A lost GPU posts no semaphore: it is asked for its state this often."""


class CudaStream(Owned):
    """A stream that does not wait for the default stream."""

    __slots__ = ("_copying_in", "_copying_out", "_driver", "_raw", "_waiting", "handle")
    _fading = ("_raw", "handle")

    def __init__(self, driver: Any, inventory: Inventory, name: str, priority: int) -> None:
        self._driver = driver
        self._raw = check(driver.cuStreamCreateWithPriority(_NON_BLOCKING, priority), f"making stream {name}")
        self.handle = int(self._raw)
        self._copying_in = f"copying to the GPU in stream {name}"
        self._copying_out = f"copying from the GPU in stream {name}"
        self._waiting = f"having stream {name} wait for an event"
        super().__init__(inventory, "stream", name)

    def copy_in(self, target: DeviceBuffer, offset: int, source: int, size: int) -> None:
        """Copy from host to device."""
        check(self._driver.cuMemcpyHtoDAsync(target.address + offset, source, size, self._raw), self._copying_in)

    def copy_in_frames(self, target: DeviceBuffer, sources: Sequence[int], size: int) -> None:
        """Copy pieces of one size from host to device, one behind the other."""
        copy, raw, doing, address = self._driver.cuMemcpyHtoDAsync, self._raw, self._copying_in, target.address
        for source in sources:
            check(copy(address, source, size, raw), doing)
            address += size

    def copy_out(self, target: int, source: DeviceBuffer, offset: int, size: int) -> None:
        """Copy from device to host."""
        check(self._driver.cuMemcpyDtoHAsync(target, source.address + offset, size, self._raw), self._copying_out)

    def wait(self, event: Event) -> None:
        """Hold what follows until the event."""
        check(self._driver.cuStreamWaitEvent(self._raw, event.handle, 0), self._waiting)

    def done(self) -> bool:
        """Whether the stream is empty."""
        return ready(self._driver.cuStreamQuery(self._raw), f"looking at stream {self.name}")

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        check(self._driver.cuStreamSynchronize(self._raw), f"waiting for stream {self.name}")

    def _destroy(self) -> None:
        release(self._driver.cuStreamDestroy(self._raw), f"ending stream {self.name}")


class CudaEvent(Owned):
    """An event whose waits block.

    Args:
        driver: the bindings.
        inventory: the GPU's.
        name: what it is for.
        timing: for `since`.
        timed: keep the limit of `wait`, at the price of a second call in `record`.
        kept: takes the semaphore at the event's end, see `_destroy`.
    """

    __slots__ = ("_driver", "_kept", "_looking", "_raw", "_recording", "_semaphore", "handle")
    _fading = ("_raw", "handle")

    def __init__(
        self, driver: Any, inventory: Inventory, name: str, *, timing: bool, timed: bool, kept: list[Semaphore]
    ) -> None:
        self._driver = driver
        self._kept = kept
        flags = _BLOCKING_SYNC | (0 if timing else _NO_TIMING)
        self._semaphore = Semaphore() if timed else None
        self._raw = check(driver.cuEventCreate(flags), f"making event {name}")
        self.handle = int(self._raw)
        self._recording = f"recording event {name}"
        self._looking = f"waiting for event {name}"
        super().__init__(inventory, "event", name)

    def record(self, stream: Stream) -> None:
        """Move the event to the stream's end."""
        check(self._driver.cuEventRecord(self._raw, stream.handle), self._recording)
        if self._semaphore is not None:
            self._semaphore.drain()
            post = self._driver.cuLaunchHostFunc(stream.handle, self._semaphore.post, self._semaphore.address)
            check(post, self._recording)

    def done(self) -> bool:
        """Whether it was reached."""
        return ready(self._driver.cuEventQuery(self._raw), self._looking)

    def wait(self, timeout_s: float) -> bool:
        """Wait for it, see `edged.gpu.api.Event.wait`."""
        if timeout_s <= 0:
            return self.done()
        if self._semaphore is None:
            check(self._driver.cuEventSynchronize(self._raw), self._looking)
            return True
        end = time.monotonic() + timeout_s
        while not self.done():
            left = end - time.monotonic()
            if left <= 0:
                return False
            self._semaphore.wait(min(left, _LOOK_S))
        return True

    def since(self, earlier: Event) -> float:
        """Milliseconds between two events."""
        return float(check(self._driver.cuEventElapsedTime(earlier.handle, self._raw), self._looking))

    def _destroy(self) -> None:
        if self._semaphore is not None:
            # The driver may post it a moment after the event: its memory has to be there until then.
            self._kept.append(self._semaphore)
        release(self._driver.cuEventDestroy(self._raw), f"ending event {self.name}")


class CudaGraph(Owned):
    """An executable graph, uploaded to the device."""

    __slots__ = ("_driver", "_launching", "_raw")
    _fading = ("_raw",)

    def __init__(self, driver: Any, inventory: Inventory, name: str, recorded: Any, stream: Stream) -> None:
        self._driver = driver
        self._raw = check(driver.cuGraphInstantiate(recorded, 0), f"making graph {name} executable")
        self._launching = f"launching graph {name}"
        super().__init__(inventory, "graph", name)
        uploaded = driver.cuGraphUpload(self._raw, stream.handle)
        if uploaded[0]:
            self.close()
        check(uploaded, f"uploading graph {name}")

    def launch(self, stream: Stream) -> None:
        """Enqueue the graph."""
        check(self._driver.cuGraphLaunch(self._raw, stream.handle), self._launching)

    def _destroy(self) -> None:
        release(self._driver.cuGraphExecDestroy(self._raw), f"ending graph {self.name}")
