# SPDX-License-Identifier: Apache-2.0
"""The TensorRT executor when things go wrong: misuse, engines that do not fit, and each call failing."""

from __future__ import annotations

import gc

import pytest
from gpu_unit.executor_rig import FRAME, OUTPUTS, Rig, sums

from edged.errors import EdgedError, EngineError, InternalError
from edged.gpu.engines import TensorInfo
from edged.gpu.errors import CudaError, EngineRunError, GpuLostError, GpuMemoryError
from edged.gpu.fake import CALLS, FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import TensorSpec
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor


def test_misuse_is_told() -> None:
    rig = Rig()
    assert rig.executor is not None
    assert not rig.executor.done(0)
    with pytest.raises(InternalError, match="no batch that is done"):
        rig.executor.collect(0)
    rig.submit(0, [0], [1])
    with pytest.raises(InternalError, match="no batch that is done"):
        rig.executor.collect(0)
    with pytest.raises(InternalError, match="before its last one"):
        rig.submit(0, [1], [1])
    with pytest.raises(InternalError, match="more than 8"):
        rig.submit(1, list(range(1, 10)), [0] * 9)
    rig.executor.wait(0, 1)
    rig.executor.collect(0)
    rig.end()


def test_a_hanging_gpu_does_not_hold_the_loop() -> None:
    rig = Rig()
    assert rig.executor is not None
    output = rig.submit(0, [0], [1])
    rig.gpu.stall()
    assert not rig.executor.wait(0, 0.01)
    rig.gpu.stall(False)
    assert rig.executor.wait(0, 0.01)
    rig.executor.collect(0)
    rig.check(output, [0], [1])
    rig.end()


@pytest.mark.parametrize(
    ("dtype", "largest", "outputs", "why"),
    [
        ("float32", 16, OUTPUTS, "not uint8 frames"),
        ("uint8", 4, OUTPUTS, "no batch of 8"),
        ("uint8", 16, OUTPUTS[:1], "not those of the model"),
    ],
)
def test_an_engine_that_does_not_fit_is_refused(
    dtype: str, largest: int, outputs: tuple[TensorSpec, ...], why: str
) -> None:
    gpu = FakeGpu()
    tensors = [
        TensorInfo("frames", True, dtype, (-1, *FRAME), (batch_range((1, 2, largest), FRAME),)),
        TensorInfo("sum", False, "float32", (-1, 1)),
        TensorInfo("last", False, "uint8", (-1, 2)),
    ]
    engine = gpu.engine("other", tensors, sums)
    with pytest.raises(EngineError, match=why) as caught:
        TensorRtExecutor(gpu, engine, outputs, [], GpuOptions())
    assert caught.value.exit_code == 78
    assert [it.kind for it in gpu.live()] == ["engine"]


def test_out_of_memory_at_load_leaves_nothing() -> None:
    gpu = FakeGpu(total_bytes=2500)
    with pytest.raises(GpuMemoryError) as caught:
        Rig(gpu)
    assert caught.value.exit_code == 69
    assert [it.kind for it in gpu.live()] == ["engine"]


AT_LOAD = (
    "memory", "stream", "event", "device_buffer", "register", "capture", "instantiate", "synchronize", "launch",
    "context", "use_memory", "set_shape", "bind", "enqueue", "run",
)  # fmt: skip
BY_A_BATCH = ("copy_in", "copy_out", "record", "wait_event", "query", "synchronize", "launch", "run")


def cases(calls: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each call with the errors that it can give."""
    return [(call, code) for call in calls for code in (1, 2, 700) if code == 700 or call != "run"]


def times(call: str) -> tuple[int, int]:
    """How often a call is made at load, and by a batch."""
    rig = Rig(max_batch=4)
    load = rig.gpu.calls[call]
    rig.run(0, [0, 2, 4], [1, 2, 3])
    batch = rig.gpu.calls[call] - load
    rig.end()
    return load, batch


def test_no_call_is_forgotten() -> None:
    for call in (*CALLS, "run"):
        load, batch = times(call)
        assert bool(load) == (call in AT_LOAD), call
        assert bool(batch) == (call in BY_A_BATCH), call


@pytest.mark.parametrize(("call", "code"), cases(AT_LOAD))
def test_a_failure_of_any_call_at_load_leaves_nothing(call: str, code: int) -> None:
    made_at_load, _ = times(call)
    for nth in sorted({1, 2, made_at_load // 2 or 1, made_at_load}):
        gpu = FakeGpu()
        gpu.fail_at(call, nth, code)
        made: Rig | None = None
        failure: EdgedError | None = None
        try:
            made = Rig(gpu)
        except (CudaError, EngineRunError) as error:
            failure = error
        assert made is None or failure is None
        if made is None:
            assert isinstance(failure, GpuLostError) == (code == 700)
            # The engine is the caller's; nothing else is alive, unless the GPU is gone anyway.
            assert gpu.machine.faults.lost or [it.kind for it in gpu.live()] == ["engine"]
        else:
            # Done without: a ring that is staged, or a graph that could not be recorded.
            assert call in {"register", "capture", "instantiate", "memory", "enqueue", "synchronize"}
            made.run(0, [0, 2], [5, 6])
            made.end()
        gc.collect()


@pytest.mark.parametrize(("call", "code"), cases(BY_A_BATCH))
def test_a_failure_of_any_call_of_a_batch_is_told_and_the_end_is_clean(call: str, code: int) -> None:
    _, made_by_a_batch = times(call)
    for nth in range(1, made_by_a_batch + 1):
        rig = Rig(max_batch=4)
        rig.gpu.fail_at(call, nth, code)
        with pytest.raises(EdgedError) as caught:
            rig.run(0, [0, 2, 4], [1, 2, 3])
        assert isinstance(caught.value, GpuLostError) == (code == 700)
        assert caught.value.exit_code in {69, 70, 75}
        assert rig.executor is not None
        rig.executor.close()
        rig.engine.close()
        rig.gpu.close()
