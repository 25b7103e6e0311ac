# SPDX-License-Identifier: Apache-2.0
"""Engines, contexts and graphs of the accounting GPU, and each of its calls failing."""

import gc
from collections.abc import Iterator

import numpy as np
import pytest
from gpu_unit.fake_bench import Bench, Doubling

from edged.errors import EdgedError
from edged.gpu.errors import AccountingError, CaptureError, EngineRunError
from edged.gpu.fake import CALLS


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    gc.collect()


def test_an_engine_computes(bench: Bench) -> None:
    use = Doubling(bench)
    assert use.context.shape("y") == (2, 2)
    bench.a.copy_in(bench.device, 0, bench.source.address, 4)
    use.context.enqueue(bench.a)
    bench.a.copy_out(bench.target.address, bench.device, 32, 16)
    bench.a.synchronize()
    assert list(bench.target.array[:16].view(np.float32)) == [0, 2, 4, 6]
    use.end()
    bench.end()


def test_an_engine_running_before_its_input_is_there_is_a_race(bench: Bench) -> None:
    use = Doubling(bench)
    bench.a.copy_in(bench.device, 0, bench.source.address, 4)
    with pytest.raises(AccountingError, match="running doubler"):
        use.context.enqueue(bench.b)


def test_one_context_on_two_streams_is_a_race(bench: Bench) -> None:
    use = Doubling(bench)
    use.context.enqueue(bench.a)
    with pytest.raises(AccountingError, match="activations of c"):
        use.context.enqueue(bench.b)


def test_inputs_are_free_again_at_the_consumed_event(bench: Bench) -> None:
    use = Doubling(bench)
    use.context.on_input_consumed(bench.event)
    bench.a.copy_in(bench.device, 0, bench.source.address, 4)
    use.context.enqueue(bench.a)
    bench.b.wait(bench.event)
    bench.b.copy_in(bench.device, 0, bench.source.address + 8, 4)
    bench.a.copy_out(bench.target.address, bench.device, 32, 16)
    bench.b.synchronize()
    bench.a.synchronize()
    assert list(bench.target.array[:16].view(np.float32)) == [0, 2, 4, 6]
    use.end()
    bench.end()


def test_bad_shapes_and_missing_addresses_are_refused(bench: Bench) -> None:
    use = Doubling(bench)
    with pytest.raises(EngineRunError, match="does not take"):
        use.context.set_shape("x", (5, 2))
    bare = use.engine.context("bare", own_memory=False)
    with pytest.raises(EngineRunError, match="no address or shape"):
        bare.enqueue(bench.a)
    with pytest.raises(AccountingError, match="needs 1024 bytes"):
        bare.use_memory(bench.device)
    with pytest.raises(AccountingError, match="before its 2 contexts"):
        use.engine.close()


def test_a_graph_replays_what_was_recorded(bench: Bench) -> None:
    use = Doubling(bench)
    with pytest.raises(CaptureError, match="cannot be recorded"):
        bench.gpu.capture("cold", bench.a, lambda: use.context.enqueue(bench.a))
    use.context.enqueue(bench.a)
    graph = bench.gpu.capture("warm", bench.a, lambda: use.context.enqueue(bench.a))
    for start in (0, 8):
        bench.a.copy_in(bench.device, 0, bench.source.address + start, 4)
        graph.launch(bench.a)
        bench.a.copy_out(bench.target.address, bench.device, 32, 16)
        bench.a.synchronize()
        assert bench.target.array[:4].view(np.float32)[0] == start * 2
        bench.gpu.host_reads(bench.target.address, 16)
    use.context.set_shape("x", (1, 2))
    with pytest.raises(AccountingError, match="after shapes"):
        graph.launch(bench.a)
    graph.close()
    use.end()
    bench.end()


def test_what_a_graph_cannot_hold_leaves_the_stream_usable(bench: Bench) -> None:
    for work in (
        lambda: bench.a.synchronize(),
        lambda: bench.a.wait(bench.event),
        lambda: bench.event.record(bench.a),
    ):
        with pytest.raises(CaptureError):
            bench.gpu.capture("g", bench.a, work)
    with pytest.raises(ZeroDivisionError):
        bench.gpu.capture("g", bench.a, lambda: print(1 // 0))
    bench.a.copy_in(bench.device, 0, bench.source.address, 8)
    bench.end()


def test_a_launched_graph_is_checked_against_everything_else(bench: Bench) -> None:
    use = Doubling(bench)
    use.context.enqueue(bench.a)
    graph = bench.gpu.capture("g", bench.a, lambda: use.context.enqueue(bench.a))
    bench.a.synchronize()
    graph.launch(bench.a)
    with pytest.raises(AccountingError):
        bench.b.copy_in(bench.device, 0, bench.source.address, 4)


@pytest.mark.parametrize("call", [call for call in CALLS if call not in {"use_memory", "use_profile"}])
def test_each_kind_of_call_can_fail(call: str, bench: Bench) -> None:
    bench.gpu.fail_at(call, 1, 1)
    with pytest.raises(EdgedError, match="INVALID_VALUE"):
        everything(bench)


def everything(bench: Bench) -> None:
    """Use every kind of call once."""
    gpu = bench.gpu
    gpu.memory()
    for thing in (gpu.stream("s"), gpu.event("x"), gpu.device_buffer("y", 8), gpu.host_buffer("z", 8)):
        thing.close()
    memory = np.zeros(64, dtype=np.uint8)
    gpu.register("r", memory.ctypes.data, 64).close()
    use = Doubling(bench)
    use.context.enqueue(bench.a)
    bench.a.copy_in(bench.device, 0, bench.source.address, 4)
    graph = gpu.capture("g", bench.a, lambda: use.context.enqueue(bench.a))
    graph.launch(bench.a)
    bench.a.copy_out(bench.target.address, bench.device, 32, 16)
    bench.event.record(bench.a)
    bench.b.wait(bench.event)
    bench.event.done()
    bench.event.wait(1)
