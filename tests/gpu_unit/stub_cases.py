# SPDX-License-Identifier: Apache-2.0
"""Runs the CUDA layer through the real bindings on a stand-in driver; started by ``test_cuda_layer.py``.

Usage: stub_cases.py LIBRARY. The library has the real driver's name and is loaded first, so the bindings find it.
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from edged.errors import DeviceUnavailableError, EdgedError
from edged.gpu.cuda import CudaGpu
from edged.gpu.cuda_memory import bytes_at
from edged.gpu.errors import CaptureError, ClosedError, CudaError, GpuLostError, GpuMemoryError
from edged.shm.wake import Wake

STUB = ctypes.CDLL(sys.argv[1], mode=ctypes.RTLD_GLOBAL)
FUNCTIONS = [
    "cuInit",
    "cuDriverGetVersion",
    "cuDeviceGet",
    "cuDeviceGetName",
    "cuDeviceGetPCIBusId",
    "cuDeviceTotalMem_v2",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxSetFlags_v2",
    "cuDevicePrimaryCtxRetain",
    "cuCtxSetCurrent",
    "cuCtxGetStreamPriorityRange",
    "cuMemGetInfo_v2",
    "cuMemAlloc_v2",
    "cuMemHostAlloc",
    "cuMemHostRegister_v2",
    "cuMemHostGetDevicePointer_v2",
    "cuStreamCreateWithPriority",
    "cuStreamSynchronize",
    "cuStreamQuery",
    "cuStreamWaitEvent",
    "cuEventCreate",
    "cuEventRecord",
    "cuEventQuery",
    "cuEventSynchronize",
    "cuStreamBeginCapture_v2",
    "cuStreamEndCapture",
    "cuGraphInstantiateWithFlags",
    "cuGraphUpload",
    "cuGraphLaunch",
    "cuMemcpyHtoDAsync_v2",
    "cuMemcpyDtoHAsync_v2",
    "cuMemcpyDtoDAsync_v2",
    "cuLaunchHostFunc",
]
"""Every function that can fail while `use_everything` runs, but for those that give something back."""


@contextmanager
def eventfd() -> Iterator[Wake]:
    """A wake-up that is closed in the end."""
    wake = Wake()
    try:
        yield wake
    finally:
        wake.close()


def open_files() -> int:
    """Descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


def raises(kind: type[EdgedError], call: object, *arguments: object) -> EdgedError:
    """The error of a call that has to raise one."""
    assert callable(call)
    try:
        call(*arguments)
    except kind as error:
        return error
    raise AssertionError(f"{call} raised no {kind.__name__}")


def use_everything(gpu: CudaGpu) -> None:
    """Each operation once, checked; everything is ended."""
    ring = np.arange(8192, dtype=np.uint8)
    made: list[object] = []
    try:
        stream = gpu.stream("s", high_priority=True)
        made.append(stream)
        timed, first, second = gpu.event("t", timed=True), gpu.event("f", timing=True), gpu.event("l", timing=True)
        made += [timed, first, second]
        device, host = gpu.device_buffer("d", 512), gpu.host_buffer("h", 512, mapped=True)
        made += [device, host]
        locked = gpu.register("ring", ring.ctypes.data, ring.nbytes, mapped=True)
        made.append(locked)
        assert (host.device_address, locked.device_address) == (host.address, locked.address)
        first.record(stream)
        stream.copy_in_pieces(device, [(locked.address, 50), (locked.address + 100, 50)])
        stream.copy_in(device, 100, locked.address + 7, 10)
        second.record(stream)
        stream.wait(second)
        other = gpu.device_buffer("o", 512)
        made.append(other)
        stream.copy_across(other, device, 110)
        stream.copy_out(host.address, other, 0, 110)
        timed.record(stream)
        assert timed.wait(5)
        assert timed.done()
        assert first.wait(5)
        assert stream.done()
        assert second.since(first) == 1.5
        expected = [*range(50), *range(100, 150), *range(7, 17)]
        assert host.array[:110].tolist() == expected
        with eventfd() as wake:
            heard = gpu.event("heard", wake_fd=wake.fd)
            made.append(heard)
            heard.record(stream)
            assert heard.wait(5)
            assert wake.clear()
        graph = gpu.capture("g", stream, lambda: stream.copy_in(device, 0, locked.address, 10))
        made.append(graph)
        graph.launch(stream)
        stream.synchronize()
        assert gpu.memory() == (1000, 1 << 33)
    finally:
        for thing in reversed(made):
            thing.close()  # type: ignore[attr-defined]


def open_and_use() -> None:
    """Open the GPU, use everything, and give it back whatever happens."""
    gpu = CudaGpu(0)
    try:
        use_everything(gpu)
    finally:
        gpu.close()


def test_everything_works_and_is_given_back() -> None:
    gpu = CudaGpu(0)
    assert gpu.device == (0, "stub", (9, 0), 132, False, True, 13000, 1 << 33, "0000:01:00.0")
    use_everything(gpu)
    assert gpu.close() == ()
    assert gpu.close() == ()
    assert STUB.stub_live() == 0
    raises(ClosedError, gpu.memory)


def test_each_call_can_fail_and_nothing_is_left() -> None:
    for name in FUNCTIONS:
        for code, kind in ((1, CudaError), (2, GpuMemoryError), (700, GpuLostError)):
            STUB.stub_fail(name.encode(), 1, code)
            error = raises(kind, open_and_use)
            assert str(code) in str(error), error
            assert STUB.stub_live() == 0, f"{name} with {code} leaves {STUB.stub_live()}"


def test_pieces_are_copied_in_one_call_or_one_by_one() -> None:
    gpu = CudaGpu(0)
    stream, device = gpu.stream("s"), gpu.device_buffer("d", 64)
    ring = np.arange(256, dtype=np.uint8)
    pieces = [(ring.ctypes.data + start, size) for start, size in ((0, 10), (100, 20), (7, 3))]
    moved = bytes_at(device.address, 33)
    expected = [*range(10), *range(100, 120), *range(7, 10)]
    assert gpu.batched_copies.works
    for refusal in (0, 801):
        STUB.stub_fail(b"cuMemcpyBatchAsync", 1 if refusal else 0, refusal)
        moved[:] = 0
        stream.copy_in_pieces(device, pieces)
        assert moved.tolist() == expected
        assert gpu.batched_copies.works is not bool(refusal)
    gpu.batched_copies.works = True
    STUB.stub_fail(b"cuMemcpyBatchAsync", 1, 700)
    raises(GpuLostError, stream.copy_in_pieces, device, pieces)
    device.close()
    stream.close()
    assert gpu.close() == ()


def test_an_event_sets_a_wake_up_from_the_drivers_side_and_leaves_no_descriptor() -> None:
    gpu = CudaGpu(0)
    with eventfd() as wake:
        stream, event = gpu.stream("s"), gpu.event("e", wake_fd=wake.fd)
        before = open_files()
        for _ in range(100):
            event.record(stream)
            assert wake.wait(0)
            assert not wake.clear()
        STUB.stub_fail(b"cuLaunchHostFunc", 1, 1)
        raises(CudaError, event.record, stream)
        assert open_files() == before
        # A wait for the event alone swallows nothing that was meant for another look.
        wake.clear()
        event.record(stream)
        STUB.stub_not_ready(2)
        assert event.wait(5)
        assert wake.clear()
        stream.close()
        event.close()
        wake.set()
        assert wake.clear()
    assert gpu.close() == ()


def test_leaks_are_reported_and_ended() -> None:
    gpu = CudaGpu(0)
    gpu.stream("forgotten")
    gpu.device_buffer("lost", 100)
    assert [(leak.kind, leak.name, leak.size) for leak in gpu.close()] == [
        ("stream", "forgotten", 0),
        ("device", "lost", 100),
    ]
    assert STUB.stub_live() == 0


def test_use_after_the_end_raises() -> None:
    gpu = CudaGpu(0)
    stream, event, device = gpu.stream("s"), gpu.event("e"), gpu.device_buffer("d", 8)
    other = gpu.stream("o")
    device.close()
    raises(ClosedError, stream.copy_in, device, 0, 1, 1)
    stream.close()
    raises(ClosedError, stream.synchronize)
    raises(ClosedError, event.record, stream)
    event.close()
    raises(ClosedError, other.wait, event)
    raises(ClosedError, event.done)
    other.close()
    assert gpu.close() == ()


def test_there_is_no_second_gpu() -> None:
    assert "101" in str(raises(DeviceUnavailableError, CudaGpu, 1))


def test_work_that_cannot_be_recorded_leaves_the_stream_usable() -> None:
    gpu = CudaGpu(0)
    stream, device = gpu.stream("s"), gpu.device_buffer("d", 8)

    def fail() -> None:
        raise ZeroDivisionError

    raises(CaptureError, gpu.capture, "g", stream, stream.synchronize)
    try:
        gpu.capture("g", stream, fail)
    except ZeroDivisionError:
        stream.synchronize()
    device.close()
    stream.close()
    assert gpu.close() == ()
    assert STUB.stub_live() == 0


def test_a_timed_wait_ends_at_its_limit_and_sees_a_lost_gpu() -> None:
    gpu = CudaGpu(0)
    stream, event = gpu.stream("s"), gpu.event("e", timed=True)
    event.record(stream)
    STUB.stub_not_ready(1 << 20)
    start = time.monotonic()
    assert not event.wait(0.25)
    assert 0.2 < time.monotonic() - start < 5
    assert not event.done()
    STUB.stub_not_ready(3)
    assert event.wait(5)
    STUB.stub_not_ready(1 << 20)
    STUB.stub_fail(b"cuEventQuery", 3, 719)
    raises(GpuLostError, event.wait, 5)
    STUB.stub_not_ready(0)
    stream.close()
    event.close()
    gpu.close()


if __name__ == "__main__":
    for case in [value for name, value in list(globals().items()) if name.startswith("test_")]:
        case()
        sys.stdout.write(f"{case.__name__}\n")
