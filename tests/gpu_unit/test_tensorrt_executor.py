# SPDX-License-Identifier: Apache-2.0
"""The TensorRT executor on the accounting GPU: right, ordered and overlapping."""

from __future__ import annotations

import numpy as np
import pytest
from gpu_unit.executor_rig import FRAME, RING_SLOTS, Rig, RingOutput
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.gpu.engines import ShapeRange, TensorInfo
from edged.gpu.errors import EngineRunError
from edged.gpu.fake import FakeGpu
from edged.gpu.fake.gpu import batch_range
from edged.records import TensorSpec
from edged.stages.infer.executor import BatchInput
from edged.stages.infer.gpu_programs import graph_sizes
from edged.stages.infer.gpu_rings import RingMemory
from edged.stages.infer.gpu_slot import side_by_side
from edged.stages.infer.tensorrt import GpuOptions, TensorRtExecutor


@pytest.mark.parametrize("io", ["copy", "staged", "mapped"])
@pytest.mark.parametrize("graphs", [True, False])
@pytest.mark.parametrize("contexts", [1, 2])
def test_results_belong_to_their_frames(io: str, graphs: bool, contexts: int) -> None:
    rig = Rig(FakeGpu(integrated=io == "mapped"), io=io, graphs=graphs, contexts=contexts)
    assert rig.executor is not None
    assert rig.executor.io == io
    for count in (1, 3, 8):
        rig.run(0, list(range(count)), list(range(count)))
        rig.run(1, [15 - place for place in range(count)], list(range(10, 10 + count)))
    rig.end()


def test_auto_means_mapped_on_an_integrated_gpu_and_copy_elsewhere() -> None:
    for integrated, io in ((True, "mapped"), (False, "copy")):
        rig = Rig(FakeGpu(integrated=integrated))
        assert rig.executor is not None
        assert rig.executor.io == io
        rig.end()


@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_no_prediction_ever_belongs_to_another_frame(data: st.DataObject) -> None:
    slots = data.draw(st.integers(1, 3), "slots")
    rig = Rig(
        slots=slots,
        max_batch=4,
        graphs=data.draw(st.booleans(), "graphs"),
        contexts=data.draw(st.integers(1, 2), "contexts"),
        io=data.draw(st.sampled_from(["copy", "staged", "mapped"]), "io"),
    )
    executor = rig.executor
    assert executor is not None
    flights: dict[int, tuple[RingOutput, list[int], list[int]]] = {}
    used: set[int] = set()
    for _ in range(data.draw(st.integers(1, 25), "steps")):
        rig.gpu.advance(data.draw(st.integers(0, 6), "advance"), lambda able: data.draw(st.integers(0, able - 1)))
        free = [slot for slot in range(slots) if slot not in flights]
        submit = data.draw(st.booleans(), "submit")
        if free and submit:
            unused = st.sampled_from([place for place in range(RING_SLOTS) if place not in used])
            places = data.draw(st.lists(unused, min_size=1, max_size=4, unique=True))
            values = data.draw(st.lists(st.integers(0, 255), min_size=len(places), max_size=len(places)))
            flights[free[0]] = (rig.submit(free[0], places, values), places, values)
            used |= set(places)
        for slot in list(flights):
            if executor.done(slot) or (data.draw(st.booleans(), "wait") and executor.wait(slot, 1)):
                executor.collect(slot)
                output, places, values = flights.pop(slot)
                rig.check(output, places, values)
                used -= set(places)
    rig.end()


def test_batches_overlap() -> None:
    rig = Rig(graphs=False)
    assert rig.executor is not None
    first = rig.submit(0, [0, 1], [1, 2])
    before = rig.gpu.machine.pending
    second = rig.submit(1, [2, 3], [3, 4])
    assert rig.gpu.machine.pending > before
    assert not rig.executor.done(0)
    # The second batch's copy may be over while the first one computes, and the first is delivered before the second.
    assert rig.executor.wait(0, 1)
    rig.executor.collect(0)
    rig.check(first, [0, 1], [1, 2])
    assert not rig.executor.done(1)
    assert rig.executor.wait(1, 1)
    rig.executor.collect(1)
    rig.check(second, [2, 3], [3, 4])
    rig.end()


def test_few_calls_a_batch() -> None:
    rig = Rig()
    counts = dict(rig.gpu.calls)
    rig.run(0, list(range(8)), list(range(8)))
    made = {
        call: number - counts.get(call, 0) for call, number in rig.gpu.calls.items() if number != counts.get(call, 0)
    }
    assert made == {
        "record": 5,
        "copy_in": 1,
        "wait_event": 2,
        "launch": 1,
        "copy_out": 2,
        "synchronize": 1,
        "query": 1,
        "run": 4,
    }
    counts = dict(rig.gpu.calls)
    rig.run(0, [0, 2, 4, 6, 8, 10, 12, 14], list(range(8)))
    assert rig.gpu.calls["copy_in"] - counts["copy_in"] == 8
    rig.end()


def test_frames_that_follow_one_another_in_memory_are_one_copy() -> None:
    assert side_by_side([100], 10) == [(100, 10)]
    assert side_by_side([100, 110, 120, 300, 200, 210], 10) == [(100, 30), (300, 10), (200, 20)]
    rig = Rig()
    counts = rig.gpu.calls["copy_in"]
    rig.run(0, [4, 5, 6, 0, 1, 9], list(range(6)))
    assert rig.gpu.calls["copy_in"] - counts == 3
    rig.end()


def test_sizes_with_a_graph() -> None:
    assert graph_sizes(1) == [1]
    assert graph_sizes(5) == [1, 2, 3, 4, 5]
    assert graph_sizes(32) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 24, 32]
    assert graph_sizes(20) == [1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 20]


def test_sizes_between_graphs_run_exactly_and_record_nothing() -> None:
    rig = Rig(max_batch=16)
    recorded = rig.gpu.calls["capture"]
    launched = rig.gpu.calls["launch"]
    for count in (9, 10, 11, 13, 16, 12, 9):
        rig.run(0, list(range(count)), list(range(count)))
    assert rig.gpu.calls["capture"] == recorded
    assert rig.gpu.calls["launch"] - launched == 2
    rig.end()


def test_the_narrowest_profile_is_chosen() -> None:
    profiles = (batch_range((1, 8, 16), FRAME), batch_range((1, 2, 4), FRAME))
    rig = Rig(profiles=profiles, max_batch=16, graphs=False)
    assert rig.engine.info.narrowest_profile("frames", (4, *FRAME)) == 1
    assert rig.engine.info.narrowest_profile("frames", (5, *FRAME)) == 0
    assert rig.engine.info.narrowest_profile("frames", (17, *FRAME)) is None
    for count in (3, 5, 4, 16):
        rig.run(0, list(range(count)), list(range(count)))
    rig.end()
    rig = Rig(profiles=profiles, max_batch=16)
    for count in (3, 5, 4, 16):
        rig.run(1, list(range(count)), list(range(count)))
    rig.end()


def test_memory_is_taken_at_load_and_constant_afterwards() -> None:
    rig = Rig()
    assert rig.executor is not None
    live = rig.gpu.live()
    footprint = rig.executor.footprint
    assert footprint.activations == 1024
    assert footprint.buffers == 2 * 8 * (96 + 4 + 2)
    assert footprint.taken == footprint.activations + footprint.buffers
    for count in range(1, 9):
        rig.run(count % 2, list(range(count)), list(range(count)))
    assert rig.gpu.live() == live
    rig.end()


def test_two_contexts_have_memory_of_their_own() -> None:
    rig = Rig(contexts=2)
    assert rig.executor is not None
    assert rig.executor.footprint.activations == 2048
    rig.end()


def test_where_page_locking_is_refused_data_is_staged() -> None:
    for gpu, why in ((FakeGpu(can_register=False), "cannot page-lock"), (FakeGpu(), "OPERATING_SYSTEM")):
        gpu.fail_at("register", 2, 304)
        rig = Rig(gpu)
        assert rig.executor is not None
        assert rig.executor.io == "staged"
        assert why in rig.executor.io_refusal
        rig.run(0, [0, 5, 3], [7, 8, 9])
        rig.end()


def test_a_ring_that_comes_later_is_used_or_makes_data_staged() -> None:
    rig = Rig()
    assert rig.executor is not None
    second = np.zeros((4, *FRAME), dtype=np.uint8)
    rig.executor.add_ring(RingMemory("second", second.ctypes.data, second.nbytes))
    second[1] = 3
    output = RingOutput(rig.results, 0, 1)
    rig.executor.submit(0, BatchInput([second[1]], None), output)
    assert rig.executor.wait(0, 1)
    rig.executor.collect(0)
    assert output.sum[0, 0] == 3 * 96
    rig.executor.remove_ring("second")
    rig.gpu.fail_at("register", 1, 1)
    rig.executor.add_ring(RingMemory("third", second.ctypes.data, second.nbytes))
    assert rig.executor.io == "staged"
    rig.run(1, [0, 1], [4, 5])
    rig.end()


def test_frames_that_change_before_their_batch_is_collected_are_found() -> None:
    rig = Rig()
    assert rig.executor is not None
    rig.submit(0, [0], [1])
    rig.frames[0] = 9
    with pytest.raises(InternalError, match="was written to before"):
        rig.executor.wait(0, 1)


def test_graphs_that_cannot_be_recorded_are_done_without() -> None:
    gpu = FakeGpu()
    gpu.fail_at("capture", 3, 901)
    rig = Rig(gpu)
    assert rig.executor is not None
    assert len(rig.executor.graph_failures) == 1
    for count in range(1, 9):
        rig.run(0, list(range(count)), list(range(count)))
    rig.end()


def test_varying_sizes_of_frames_and_outputs() -> None:
    """A segmentation-like engine: the mask is as large as the frame."""
    gpu = FakeGpu()
    span = ShapeRange((1, 4, 4, 3), (1, 4, 4, 3), (2, 8, 8, 3))
    tensors = [
        TensorInfo("frames", True, "uint8", (-1, -1, -1, 3), (span,)),
        TensorInfo("mask", False, "uint8", (-1, -1, -1)),
    ]
    engine = gpu.engine(
        "masks",
        tensors,
        lambda given: {"mask": given["frames"][..., 0]},
        infer=lambda shapes: {"mask": shapes["frames"][:3]},
    )
    ring = np.zeros(4096, dtype=np.uint8)
    results = np.zeros(4096, dtype=np.uint8)
    rings = [RingMemory("a", ring.ctypes.data, 4096), RingMemory("b", results.ctypes.data, 4096)]
    executor = TensorRtExecutor(
        gpu, engine, (TensorSpec("mask", "uint8", (8, 8), fixed=False),), rings, GpuOptions(slots=1, max_batch=2)
    )
    shapes: list[tuple[int, ...]] = []

    class Output:
        def view(self, index: int, shape: tuple[int, ...] | None = None) -> NDArray[np.generic]:
            assert shape is not None
            return results[: 2 * shape[0] * shape[1]].reshape(2, *shape)

        def set_shape(self, index: int, shape: tuple[int, ...]) -> None:
            shapes.append(shape)

    for height, width in ((4, 8), (8, 8), (5, 7)):
        size = height * width * 3
        ring[: 2 * size] = np.arange(2 * size) % 251
        whole = ring[: 2 * size].reshape(2, height, width, 3)
        executor.submit(0, BatchInput(list(whole), whole), Output())
        assert executor.wait(0, 1)
        executor.collect(0)
        assert shapes[-1] == (height, width)
        assert (results[: 2 * height * width].reshape(2, height, width) == whole[..., 0]).all()
    with pytest.raises(EngineRunError, match="no optimisation profile"):
        executor.submit(0, BatchInput([ring[: 9 * 9 * 3].reshape(9, 9, 3)], None), Output())
    executor.close()
    engine.close()
    gpu.close()
