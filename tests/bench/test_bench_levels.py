# SPDX-License-Identifier: Apache-2.0
"""Engine and pipeline, on the accounting GPU (which refuses every race and leak) and on ONNX Runtime."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from bench.bench_rig import COST_MS, blank, engine, gpu_bay, on_gpu, plan, subject

from edged.bench.alone import AloneOnGpu
from edged.bench.bays import CpuBay, GpuBay
from edged.bench.levels import Entry, compare_slots, enough_slots, measure, powers, turns_of
from edged.bench.loading import open_bays
from edged.errors import EngineError
from edged.gpu.codes import OUT_OF_MEMORY
from edged.gpu.errors import CaptureError, GpuMemoryError
from edged.gpu.fake import FakeGpu
from edged.rig.pipe import Pumped
from edged.rig.rounds import Plan

WHAT = ("engine", "pipeline")


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


def never() -> bool:
    return False


@pytest.mark.parametrize("graph", [True, False])
def test_the_engine_alone_tells_the_devices_own_time(state: Path, graph: bool) -> None:
    gpu = FakeGpu()
    found = on_gpu(subject(state))
    loaded = engine(gpu, found)
    with closing(AloneOnGpu(gpu, loaded, (2, *found.frame, 3), graph=graph)) as alone:
        launched = gpu.calls["launch"]
        turn = alone.run(0.05, never)
        assert turn.batches == len(turn.latencies_ms) == len(turn.stages_ms["submit"]) > 1
        assert turn.latencies_ms == pytest.approx([COST_MS] * turn.batches)
        assert (gpu.calls["launch"] - launched > 0) == graph
        # Nothing is copied while it is measured.
        copied = gpu.calls["copy_in"] + gpu.calls["copy_out"]
        assert alone.run(0.0, never).batches == 1
        assert gpu.calls["copy_in"] + gpu.calls["copy_out"] == copied
    loaded.close()
    assert gpu.close() == ()


def test_it_ends_when_asked(state: Path) -> None:
    gpu = FakeGpu()
    bay = gpu_bay(state, gpu)
    way = bay.alone(1)
    assert way is not None
    assert way.run(60.0, lambda: True).batches == 1
    way.close()
    with closing(bay.pipe(2, 2)) as pipe:
        assert Pumped(pipe, 1).run(60.0, lambda: True).batches == 1
    bay.close()
    assert gpu.close() == ()


def test_a_batch_that_no_profile_takes_is_refused_and_nothing_is_left(state: Path) -> None:
    gpu = FakeGpu()
    bay = gpu_bay(state, gpu)
    with pytest.raises(EngineError, match="no optimisation profile takes a batch of 9"):
        bay.alone(9)
    gpu.fail_at("device_buffer", 2, OUT_OF_MEMORY)
    with pytest.raises(GpuMemoryError):
        bay.alone(1)
    bay.close()
    assert gpu.close() == ()


def test_levels_on_the_gpu(state: Path) -> None:
    gpu = FakeGpu()
    bay, result = gpu_bay(state, gpu), blank()
    measure([Entry(bay, result)], WHAT, (1, 2, 8), plan())
    by_profile = [(it.batch, it.profile) for it in result.measurements if it.level == "engine"]
    # Batches of 1 and 2 fit into the narrow profile and the wide one: the narrow one is first.
    assert by_profile == [(1, 0), (1, 1), (2, 0), (2, 1), (8, 1)]
    for level in ("engine-eager", "pipeline", "pipeline-single"):
        assert result.batches(level) == [1, 2, 8]
    assert [it.batch for it in result.efficiency] == [1, 2, 8]
    assert result.saturation is not None
    assert result.saturation.level == "pipeline"
    whole = result.found("pipeline", 8)
    assert whole is not None
    assert set(whole.stages_ms) == {"submit", "copy", "infer", "deliver"}
    assert whole.stages_ms["infer"] == pytest.approx(COST_MS, rel=0.01)
    assert all(len(it.frames_per_s.rounds) == 2 for it in result.measurements)
    assert result.io == "copy"
    memory = result.memory
    assert memory is not None
    frame = bay.subject.frame[0] * bay.subject.frame[1] * 3
    assert memory.buffers >= 2 * 8 * frame
    assert memory.page_locked >= 3 * 8 * frame
    assert memory.taken is not None
    assert memory.taken >= 7_000 + memory.buffers + (memory.activations or 0)
    bay.close()
    assert gpu.close() == ()


def test_slots_are_compared_in_rounds_of_their_own(state: Path) -> None:
    gpu = FakeGpu()
    bay, result = gpu_bay(state, gpu), blank()
    compare_slots(Entry(bay, result), 2, plan())
    assert [run.slots for run in result.slot_runs] == [1, 2, 3]
    assert enough_slots(result.slot_runs) is not None
    bay.close()
    assert gpu.close() == ()


def test_a_graph_that_cannot_be_recorded_is_said_and_measured_without(state: Path) -> None:
    gpu = FakeGpu()
    bay, result = gpu_bay(state, gpu), blank()
    gpu.fail_at("instantiate", 1, CaptureError("not now"))
    way = bay.alone(1)
    assert way is not None
    assert way.run(0.0, never).batches == 1
    way.close()
    measure([Entry(bay, result)], ("engine",), (1,), plan(1))
    assert any("without a CUDA graph" in note for note in result.notes)
    bay.close()
    assert gpu.close() == ()


def test_an_error_under_way_leaves_nothing_behind(state: Path) -> None:
    gpu = FakeGpu()
    bay, result = gpu_bay(state, gpu), blank()
    gpu.fail_at("device_buffer", 14, OUT_OF_MEMORY)
    with pytest.raises(GpuMemoryError):
        measure([Entry(bay, result)], WHAT, (1, 8), plan())
    bay.close()
    assert gpu.close() == ()


def test_two_contestants_share_rounds(state: Path) -> None:
    gpu = FakeGpu()
    bays: list[GpuBay | CpuBay] = [gpu_bay(state, gpu, ((1, 4, 4),)), CpuBay(subject(state))]
    results = [blank("a"), blank("b")]
    entries = [Entry(*pair) for pair in zip(bays, results, strict=True)]
    measure(entries, ("engine",), (1, 2), plan(2))
    for result in results:
        assert [len(it.frames_per_s.rounds) for it in result.measurements if it.level == "engine"] == [2, 2]
    assert not results[1].batches("engine-eager")
    for bay in bays:
        bay.close()
    assert gpu.close() == ()


def test_levels_on_onnx_runtime(state: Path) -> None:
    found = subject(state, "--engine.slots=2")
    result = blank(backend="onnxruntime")
    with ExitStack() as stack:
        (bay,) = open_bays([found], stack)
        assert turns_of([Entry(bay, result)], WHAT, (1, 2), 3) == 3 * (2 * 3 + 3)
        measure([Entry(bay, result)], WHAT, (1, 2), plan(2, 0.03))
    assert [(it.level, it.batch) for it in result.measurements] == [
        (level, batch) for batch in (1, 2) for level in ("engine", "pipeline", "pipeline-single")
    ]
    assert all(it.latency_ms.min > 0 for it in result.measurements)
    assert result.memory is None
    assert result.io == "in-place"


def test_nothing_runs_once_a_stop_was_asked_for(state: Path) -> None:
    result = blank()
    stopped = Plan(3, 60.0, lambda: True, lambda: None)
    entry = Entry(CpuBay(subject(state)), result)
    measure([entry], WHAT, (1, 2), stopped)
    compare_slots(entry, 1, stopped)
    assert not result.measurements
    assert not result.slot_runs


@pytest.mark.parametrize(("limit", "sizes"), [(1, [1]), (8, [1, 2, 4, 8]), (12, [1, 2, 4, 8, 12])])
def test_a_sweep_ends_with_the_engines_limit(limit: int, sizes: list[int]) -> None:
    assert powers(limit) == sizes
