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
from edged.gpu.bell import Bell
from edged.gpu.calls import check, ready, release
from edged.gpu.cuda_copies import BatchedCopies
from edged.gpu.inventory import Inventory, Owned

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING
_BLOCKING_SYNC, _NO_TIMING = 1, 2  # CU_EVENT_BLOCKING_SYNC, CU_EVENT_DISABLE_TIMING
_LOOK_S = 0.1
"""A lost GPU rings no bell: it is asked for its state this often."""


class CudaStream(Owned):
    """A stream that does not wait for the default stream."""

    __slots__ = ("_batched", "_copying_in", "_copying_out", "_driver", "_waiting", "handle", "raw")
    _fading = ("raw", "handle")

    def __init__(self, driver: Any, inventory: Inventory, name: str, priority: int, batched: BatchedCopies) -> None:
        self._driver = driver
        self._batched = batched
        self.raw = check(driver.cuStreamCreateWithPriority(_NON_BLOCKING, priority), f"making stream {name}")
        self.handle = int(self.raw)
        self._copying_in = f"copying to the GPU in stream {name}"
        self._copying_out = f"copying from the GPU in stream {name}"
        self._waiting = f"having stream {name} wait for an event"
        super().__init__(inventory, "stream", name)

    def copy_in(self, target: DeviceBuffer, offset: int, source: int, size: int) -> None:
        """Copy from host to device."""
        check(self._driver.cuMemcpyHtoDAsync(target.address + offset, source, size, self.raw), self._copying_in)

    def copy_in_pieces(self, target: DeviceBuffer, pieces: Sequence[tuple[int, int]]) -> None:
        """Copy pieces from host to device, in one call where the driver has it."""
        copy, raw, doing, address = self._driver.cuMemcpyHtoDAsync, self.raw, self._copying_in, target.address
        if len(pieces) > 1 and self._batched.enqueue(address, pieces, raw, doing):
            return
        for source, size in pieces:
            check(copy(address, source, size, raw), doing)
            address += size

    def copy_out(self, target: int, source: DeviceBuffer, offset: int, size: int) -> None:
        """Copy from device to host."""
        check(self._driver.cuMemcpyDtoHAsync(target, source.address + offset, size, self.raw), self._copying_out)

    def copy_across(self, target: DeviceBuffer, source: DeviceBuffer, size: int) -> None:
        """Copy within the device."""
        doing = f"copying within the GPU in stream {self.name}"
        check(self._driver.cuMemcpyDtoDAsync(target.address, source.address, size, self.raw), doing)

    def wait(self, event: Event) -> None:
        """Hold what follows until the event."""
        known: Any = event
        check(self._driver.cuStreamWaitEvent(self.raw, known.raw, 0), self._waiting)

    def done(self) -> bool:
        """Whether the stream is empty."""
        return ready(self._driver.cuStreamQuery(self.raw), f"looking at stream {self.name}")

    def synchronize(self) -> None:
        """Wait until the stream is empty."""
        check(self._driver.cuStreamSynchronize(self.raw), f"waiting for stream {self.name}")

    def _destroy(self) -> None:
        release(self._driver.cuStreamDestroy(self.raw), f"ending stream {self.name}")


class CudaEvent(Owned):
    """An event whose waits block.

    Args:
        driver: the bindings.
        inventory: the GPU's.
        name: what it is for.
        timing: for `since`.
        bell: rings when the event is reached, for the limit of `wait`; ended with the event.
    """

    __slots__ = ("_bell", "_driver", "_looking", "_recording", "handle", "raw")
    _fading = ("raw", "handle")

    def __init__(
        self, driver: Any, inventory: Inventory, name: str, *, timing: bool = False, bell: Bell | None = None
    ) -> None:
        self._driver = driver
        flags = _BLOCKING_SYNC | (0 if timing else _NO_TIMING)
        made = driver.cuEventCreate(flags)
        if made[0] and bell is not None:
            bell.close()
        self._bell = bell
        self.raw = check(made, f"making event {name}")
        self.handle = int(self.raw)
        self._recording = f"recording event {name}"
        self._looking = f"waiting for event {name}"
        super().__init__(inventory, "event", name)

    def record(self, stream: Stream) -> None:
        """Move the event to the stream's end."""
        known: Any = stream
        check(self._driver.cuEventRecord(self.raw, known.raw), self._recording)
        if self._bell is not None:
            check((self._bell.enqueue(stream.handle),), self._recording)

    def done(self) -> bool:
        """Whether it was reached."""
        return ready(self._driver.cuEventQuery(self.raw), self._looking)

    def wait(self, timeout_s: float) -> bool:
        """Wait for it, see `edged.gpu.api.Event.wait`."""
        if timeout_s <= 0:
            return self.done()
        if self._bell is None:
            check(self._driver.cuEventSynchronize(self.raw), self._looking)
            return True
        end, heard = time.monotonic() + timeout_s, False
        try:
            while not self.done():
                left = end - time.monotonic()
                if left <= 0:
                    return False
                heard = self._bell.wait(min(left, _LOOK_S)) or heard
        finally:
            if heard and self._bell.shared:
                # Something else that sets it may have been meant: whoever waits for that looks once too often.
                self._bell.set()
        return True

    def since(self, earlier: Event) -> float:
        """Milliseconds between two events."""
        known: Any = earlier
        return float(check(self._driver.cuEventElapsedTime(known.raw, self.raw), self._looking))

    def _destroy(self) -> None:
        if self._bell is not None:
            self._bell.close()
        release(self._driver.cuEventDestroy(self.raw), f"ending event {self.name}")


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
        known: Any = stream
        check(self._driver.cuGraphLaunch(self._raw, known.raw), self._launching)

    def _destroy(self) -> None:
        release(self._driver.cuGraphExecDestroy(self._raw), f"ending graph {self.name}")
