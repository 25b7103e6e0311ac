# SPDX-License-Identifier: Apache-2.0
"""The accounting GPU finds seeded races and leaks, moves real bytes, and fails on demand."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from gpu_unit.fake_bench import Bench

from edged.errors import DeviceUnavailableError, InternalError
from edged.gpu.errors import AccountingError, ClosedError, CudaError, EngineRunError, GpuLostError, GpuMemoryError
from edged.gpu.fake import FakeGpu


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    gc.collect()


def test_ordered_work_moves_the_bytes_and_leaves_nothing(bench: Bench) -> None:
    bench.a.copy_in_pieces(bench.device, [(bench.source.address, 32), (bench.source.address + 32, 32)])
    bench.event.record(bench.a)
    bench.b.wait(bench.event)
    bench.b.copy_out(bench.target.address, bench.device, 0, 64)
    assert not bench.b.done()
    bench.event.record(bench.b)
    assert not bench.event.done()
    assert bench.event.wait(1)
    assert bench.event.done()
    assert list(bench.target.array) == list(range(64))
    bench.end()
    assert bench.gpu.live() == ()


def test_nothing_happens_before_it_must(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.a.copy_out(bench.target.address, bench.device, 0, 64)
    assert set(bench.target.array) == {0xA5}
    assert bench.gpu.advance(1) == 1
    assert set(bench.target.array) == {0xA5}
    assert bench.gpu.advance(9) == 1
    assert bench.target.array[5] == 5


def test_reading_on_another_stream_without_an_event_is_a_race(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    with pytest.raises(AccountingError, match="nothing says that copying into d"):
        bench.b.copy_out(bench.target.address, bench.device, 0, 64)


def test_even_when_the_first_copy_happens_to_be_over(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.gpu.advance(9)
    with pytest.raises(AccountingError):
        bench.b.copy_out(bench.target.address, bench.device, 0, 64)


def test_disjoint_parts_do_not_race(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 32)
    bench.b.copy_in(bench.device, 32, bench.source.address + 32, 32)
    bench.end()


def test_an_event_recorded_too_early_orders_nothing(bench: Bench) -> None:
    bench.event.record(bench.a)
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.b.wait(bench.event)
    with pytest.raises(AccountingError):
        bench.b.copy_out(bench.target.address, bench.device, 0, 64)


def test_a_reader_that_waited_does_not_excuse_one_that_did_not(bench: Bench) -> None:
    other = bench.gpu.stream("c")
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.event.record(bench.a)
    bench.b.wait(bench.event)
    bench.b.copy_out(bench.target.address, bench.device, 0, 64)
    spare = bench.gpu.host_buffer("spare", 64)
    with pytest.raises(AccountingError, match="copying into d"):
        other.copy_out(spare.address, bench.device, 0, 64)


def test_overwriting_what_another_stream_still_reads_is_a_race(bench: Bench) -> None:
    bench.b.copy_out(bench.target.address, bench.device, 0, 64)
    with pytest.raises(AccountingError, match="which reads"):
        bench.a.copy_in(bench.device, 0, bench.source.address, 64)


def test_the_host_writing_what_a_copy_will_read_is_found(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    with pytest.raises(AccountingError, match="nothing says"):
        bench.gpu.host_writes(bench.source.address + 3, 1)
    bench.gpu.host_reads(bench.source.address + 3, 1)


def test_and_found_without_saying_so(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.source.array[9] = 99
    with pytest.raises(AccountingError, match="was written to before"):
        bench.a.synchronize()


def test_the_host_may_touch_memory_once_it_has_waited(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.event.record(bench.a)
    bench.gpu.advance(9)
    with pytest.raises(AccountingError):
        bench.gpu.host_writes(bench.source.address, 64)
    assert bench.event.done()
    bench.gpu.host_writes(bench.source.address, 64)
    bench.end()


def test_reading_an_output_too_early_is_found(bench: Bench) -> None:
    bench.a.copy_out(bench.target.address, bench.device, 0, 64)
    with pytest.raises(AccountingError):
        bench.gpu.host_reads(bench.target.address, 64)


def test_freeing_memory_in_use_is_found(bench: Bench) -> None:
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    with pytest.raises(AccountingError, match="given back although"):
        bench.device.close()


def test_addresses_that_mean_nothing_are_found(bench: Bench) -> None:
    pageable = np.zeros(8, dtype=np.uint8)
    with pytest.raises(AccountingError, match="not page-locked"):
        bench.a.copy_in(bench.device, 0, pageable.ctypes.data, 8)
    with pytest.raises(AccountingError, match="past its end"):
        bench.a.copy_in(bench.device, 60, bench.source.address, 8)
    address = bench.source.address
    bench.source.close()
    with pytest.raises(AccountingError, match="after it was given back"):
        bench.a.copy_in(bench.device, 0, address, 8)


def test_everything_refuses_to_be_used_after_its_end(bench: Bench) -> None:
    bench.device.close()
    bench.device.close()
    assert bench.device.closed
    with pytest.raises(ClosedError, match="device d was used after its end"):
        bench.a.copy_in(bench.device, 0, bench.source.address, 8)
    bench.a.close()
    with pytest.raises(ClosedError, match="stream a"):
        bench.a.synchronize()
    bench.event.close()
    with pytest.raises(ClosedError, match="event e"):
        bench.b.wait(bench.event)
    bench.target.close()
    with pytest.raises(ClosedError, match="host target"):
        _ = bench.target.array


def test_leaks_are_found_and_named(bench: Bench) -> None:
    bench.device.close()
    with pytest.raises(AccountingError, match=r"1 event, 2 host, 2 stream: a, b, e, source, target"):
        bench.gpu.close()
    with pytest.raises(ClosedError):
        bench.gpu.stream("late")


def test_ending_a_busy_stream_or_event_is_found(bench: Bench) -> None:
    bench.event.record(bench.a)
    with pytest.raises(AccountingError, match="event e was ended"):
        bench.event.close()
    with pytest.raises(AccountingError, match="stream a was ended"):
        bench.a.close()


def test_device_memory_runs_out() -> None:
    gpu = FakeGpu(total_bytes=1000)
    buffer = gpu.device_buffer("a", 600)
    assert gpu.memory() == (400, 1000)
    with pytest.raises(GpuMemoryError, match="OUT_OF_MEMORY"):
        gpu.device_buffer("b", 500)
    buffer.close()
    gpu.device_buffer("b", 500).close()
    gpu.close()


def test_registering_twice_or_where_it_cannot_be_is_refused() -> None:
    memory = np.zeros(4096, dtype=np.uint8)
    gpu = FakeGpu()
    ring = gpu.register("ring", memory.ctypes.data, 4096)
    with pytest.raises(CudaError, match="ALREADY_REGISTERED"):
        gpu.register("again", memory.ctypes.data + 100, 10)
    with pytest.raises(InternalError, match="mapped=True"):
        _ = ring.device_address
    ring.close()
    gpu.register("again", memory.ctypes.data, 4096).close()
    with pytest.raises(CudaError, match="NOT_SUPPORTED"):
        FakeGpu(can_register=False).register("ring", memory.ctypes.data, 4096)


def test_a_gpu_that_hangs_keeps_timed_waits_to_their_limit(bench: Bench) -> None:
    untimed = bench.gpu.event("untimed")
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    bench.event.record(bench.a)
    untimed.record(bench.a)
    bench.gpu.stall()
    assert not bench.event.wait(0.1)
    with pytest.raises(AccountingError, match="no limit"):
        untimed.wait(0.1)
    bench.gpu.stall(False)
    assert bench.event.wait(0.1)
    assert untimed.wait(0.1)
    untimed.close()
    bench.end()


def test_times_between_events(bench: Bench) -> None:
    later = bench.gpu.event("later", timing=True)
    plain = bench.gpu.event("plain")
    bench.event.record(bench.a)
    bench.a.copy_in(bench.device, 0, bench.source.address, 64)
    later.record(bench.a)
    with pytest.raises(CudaError, match="NOT_READY"):
        later.since(bench.event)
    bench.a.synchronize()
    assert later.since(bench.event) > 0
    with pytest.raises(CudaError, match="INVALID_HANDLE"):
        later.since(plain)


def test_planned_failures_hit_once_and_at_their_turn(bench: Bench) -> None:
    bench.gpu.fail_at("copy_in", 2, 1)
    bench.a.copy_in(bench.device, 0, bench.source.address, 8)
    with pytest.raises(CudaError, match="INVALID_VALUE"):
        bench.a.copy_in(bench.device, 8, bench.source.address, 8)
    bench.a.copy_in(bench.device, 8, bench.source.address, 8)
    bench.gpu.fail_at("record", 1, EngineRunError("planned"))
    with pytest.raises(EngineRunError, match="planned"):
        bench.event.record(bench.a)
    assert bench.gpu.calls["copy_in"] == 3
    with pytest.raises(ValueError, match="no call"):
        bench.gpu.fail_at("launhc", 1, 1)
    bench.gpu.fail_at("stream", 1, 100)
    with pytest.raises(DeviceUnavailableError):
        bench.gpu.stream("x")
    bench.end()


def test_a_crash_on_the_device_comes_to_light_later_and_stays(bench: Bench) -> None:
    bench.gpu.fail_at("run", 2, 700)
    for _ in range(2):
        bench.a.copy_in(bench.device, 0, bench.source.address, 8)
    bench.event.record(bench.a)
    with pytest.raises(GpuLostError, match="ILLEGAL_ADDRESS"):
        bench.event.wait(1)
    with pytest.raises(GpuLostError):
        bench.b.copy_out(bench.target.address, bench.device, 0, 8)
    bench.a.close()
    bench.device.close()
    assert len(bench.gpu.close()) == 4
