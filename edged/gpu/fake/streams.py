# SPDX-License-Identifier: Apache-2.0
"""Streams, events and graphs of the accounting GPU."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar, cast
from zlib import crc32

from edged.gpu.api import DeviceBuffer, Event, Stream
from edged.gpu.calls import failure
from edged.gpu.codes import CAPTURE_UNSUPPORTED, INVALID_HANDLE, NOT_READY
from edged.gpu.errors import AccountingError
from edged.gpu.fake.accounting import POISON, Span
from edged.gpu.fake.machine import Machine, Point, Queue, Work
from edged.gpu.inventory import Owned

_CAPTURED_EVENT = 907


class FakeStream(Owned):
    """A queue of operations that are done when somebody waits for them, or when the GPU is told to advance."""

    _fading: ClassVar[tuple[str, ...]] = ("queue", "handle")

    def __init__(self, machine: Machine, name: str) -> None:
        self._machine = machine
        self.queue = machine.queue(name)
        self.handle = id(self)
        super().__init__(machine.inventory, "stream", name)

    def copy_in(self, target: DeviceBuffer, offset: int, source: int, size: int) -> None:
        """Copy from host to device."""
        what = f"copying into {target.name}"
        self._machine.faults.hit("copy_in", what)
        space = self._machine.space
        start = space.host(source, size, what)
        end = space.device(target.address + offset, size, what)
        self._machine.enqueue(self.queue, _copy_in(what, start, end))

    def copy_in_pieces(self, target: DeviceBuffer, pieces: Sequence[tuple[int, int]]) -> None:
        """Copy pieces from host to device, side by side."""
        offset = 0
        for source, size in pieces:
            self.copy_in(target, offset, source, size)
            offset += size

    def copy_out(self, target: int, source: DeviceBuffer, offset: int, size: int) -> None:
        """Copy from device to host."""
        what = f"copying out of {source.name}"
        self._machine.faults.hit("copy_out", what)
        space = self._machine.space
        start = space.device(source.address + offset, size, what)
        end = space.host(target, size, what)
        self._machine.enqueue(self.queue, _copy_out(what, start, end))

    def copy_across(self, target: DeviceBuffer, source: DeviceBuffer, size: int) -> None:
        """Copy within the device."""
        what = f"copying from {source.name} to {target.name}"
        self._machine.faults.hit("copy_across", what)
        space = self._machine.space
        start, end = space.device(source.address, size, what), space.device(target.address, size, what)
        self._machine.enqueue(self.queue, _copy_in(what, start, end))

    def wait(self, event: Event) -> None:
        """Hold what follows until the event."""
        doing = f"having stream {self.name} wait for event {event.name}"
        self._machine.faults.hit("wait_event", doing)
        self.not_recording(doing)
        self._machine.hold(self.queue, _point(event))

    def done(self) -> bool:
        """Whether the stream is empty."""
        self._machine.faults.hit("query", f"looking at stream {self.name}")
        return self._machine.empty(self.queue)

    def synchronize(self) -> None:
        """Do everything that the stream holds."""
        doing = f"waiting for stream {self.name}"
        self._machine.faults.hit("synchronize", doing)
        self.not_recording(doing)
        self._machine.finish(self.queue)
        self._machine.faults.raise_if_lost(doing)
        if not self._machine.empty(self.queue):
            raise AccountingError(f"stream {self.name} was waited for without a limit while the GPU hangs", where="gpu")

    def not_recording(self, doing: str) -> None:
        """Refuse what a recording cannot hold."""
        if self.queue.recording is not None:
            raise failure(CAPTURE_UNSUPPORTED, doing)

    def _destroy(self) -> None:
        if self.queue.operations and not self._machine.faults.lost:
            raise AccountingError(f"stream {self.name} was ended with work in it", where="gpu")


def _copy_in(what: str, source: Span, target: Span) -> Work:
    def begin() -> Callable[[], None]:
        digest = crc32(source.bytes.data)

        def run() -> None:
            if crc32(source.bytes.data) != digest:
                raise AccountingError(f"{source.block.name} was written to before {what} was over", where="the host")
            target.bytes[:] = source.bytes

        return run

    return Work(what, (source,), (target,), begin)


def _copy_out(what: str, source: Span, target: Span) -> Work:
    def begin() -> Callable[[], None]:
        # Whoever reads before the copy is over reads rubbish, not the last result.
        target.bytes[:] = POISON

        def run() -> None:
            target.bytes[:] = source.bytes

        return run

    return Work(what, (source,), (target,), begin)


class FakeEvent(Owned):
    """A point in a queue."""

    _fading: ClassVar[tuple[str, ...]] = ("point", "handle")

    def __init__(self, machine: Machine, name: str, *, timing: bool, timed: bool, wake_fd: int = -1) -> None:
        self._machine = machine
        self._timing = timing
        self._timed = timed or wake_fd >= 0
        self._wake_fd = wake_fd
        self.point = Point()
        self.handle = id(self)
        super().__init__(machine.inventory, "event", name)

    def record(self, stream: Stream) -> None:
        """Move the event to the stream's end."""
        doing = f"recording event {self.name}"
        self._machine.faults.hit("record", doing)
        fake = cast(FakeStream, stream)
        if fake.queue.recording is not None:
            raise failure(_CAPTURED_EVENT, doing)
        self._machine.record(fake.queue, self.point)
        if self._wake_fd >= 0:
            # Its own operation, as on a real GPU: the event is known to be reached some time before this is done.
            self._machine.call(fake.queue, partial(os.eventfd_write, self._wake_fd, 1))

    def done(self) -> bool:
        """Whether it was reached."""
        self._machine.faults.hit("query", f"looking at event {self.name}")
        return self._machine.known(self.point)

    def wait(self, timeout_s: float) -> bool:
        """Do what it takes to reach it; False on a GPU that hangs, if the event is a timed one."""
        doing = f"waiting for event {self.name}"
        if timeout_s <= 0:
            return self.done()
        self._machine.faults.hit("synchronize", doing)
        reached = self._machine.reach(self.point)
        self._machine.faults.raise_if_lost(doing)
        if not reached and not self._timed:
            raise AccountingError(f"{doing} has no limit, and the GPU hangs", where="gpu")
        return reached

    def since(self, earlier: Event) -> float:
        """Milliseconds on the device's clock between two events."""
        other = cast(FakeEvent, earlier)
        if not (self._timing and other._timing):
            raise failure(INVALID_HANDLE, f"asking for the time between {other.name} and {self.name}")
        now, then = self.point.mark, other.point.mark
        if now is None or then is None or not (now.reached and then.reached):
            raise failure(NOT_READY, f"asking for the time between {other.name} and {self.name}")
        return now.reached_ms - then.reached_ms

    def _destroy(self) -> None:
        if not self.point.reached and not self._machine.faults.lost:
            raise AccountingError(f"event {self.name} was ended before it was reached", where="gpu")


class FakeGraph(Owned):
    """Work that was recorded."""

    _fading: ClassVar[tuple[str, ...]] = ("_works",)

    def __init__(self, machine: Machine, name: str, works: list[Work]) -> None:
        self._machine = machine
        self._works = works
        super().__init__(machine.inventory, "graph", name)

    def launch(self, stream: Stream) -> None:
        """Enqueue the work."""
        self._machine.faults.hit("launch", f"launching graph {self.name}")
        for work in self._works:
            if work.check is not None:
                work.check()
            self._machine.enqueue(cast(FakeStream, stream).queue, work)

    def _destroy(self) -> None:
        self._works.clear()


def queue_of(stream: Stream) -> Queue:
    """A fake stream's queue."""
    return cast(FakeStream, stream).queue


def _point(event: Event) -> Point:
    return cast(FakeEvent, event).point


def point_of(event: Event) -> Point:
    """A fake event's point."""
    return _point(event)
