# SPDX-License-Identifier: Apache-2.0
"""Frames and tensors as arrays over the rings: views that never overlap."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.records import FrameRecord, TensorSpec
from edged.shm.frame_table import FrameTable
from edged.shm.output_table import BatchTimes, OutputLayout, OutputTable
from edged.shm.pixels import FramePixels, OutputTensors

HEIGHT, WIDTH = 4, 6
BYTES = HEIGHT * WIDTH * 3


@pytest.fixture
def table() -> Iterator[FrameTable]:
    made = FrameTable.create(5, BYTES, live=False)
    yield made
    made.close()


def test_frames_do_not_overlap_and_leave_the_table_alone(table: FrameTable) -> None:
    pixels = FramePixels(table)
    before = list(table.words)
    for slot in range(5):
        pixels.frame(slot, HEIGHT, WIDTH)[...] = slot + 1
    for slot in range(5):
        assert (pixels.frame(slot, HEIGHT, WIDTH) == slot + 1).all()
    assert list(table.words) == before
    assert table.layout.pixels % 4096 == 0


def test_another_party_sees_the_same_pixels(table: FrameTable) -> None:
    FramePixels(table).frame(3, HEIGHT, WIDTH)[1, 2] = (7, 8, 9)
    assert FramePixels(table).frame(3, HEIGHT, WIDTH)[1, 2].tolist() == [7, 8, 9]


def test_a_smaller_frame_uses_the_start_of_its_slot(table: FrameTable) -> None:
    pixels = FramePixels(table)
    small = pixels.frame(2, 2, 3)
    assert small.shape == (2, 3, 3)
    assert np.shares_memory(small, pixels.frame(2, HEIGHT, WIDTH))
    small[...] = 255
    assert not pixels.frame(3, HEIGHT, WIDTH).any()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True), st.booleans())
def test_a_batch_is_in_place_or_not_at_all(slots: list[int], whole: bool) -> None:
    table = FrameTable.create(5, BYTES, live=False)
    pixels = FramePixels(table)
    height = HEIGHT if whole else HEIGHT - 1
    for slot in range(5):
        pixels.frame(slot, HEIGHT, WIDTH)[...] = slot
    batch = pixels.batch(slots, height, WIDTH)
    side_by_side = slots == list(range(slots[0], slots[0] + len(slots)))
    assert (batch is not None) == (len(slots) == 1 or (whole and side_by_side))
    if batch is not None:
        assert batch.shape == (len(slots), height, WIDTH, 3)
        assert batch[:, 0, 0, 0].tolist() == slots
        assert all(np.shares_memory(batch, pixels.frame(slot, height, WIDTH)) for slot in slots)
    del batch, pixels
    table.close()


DTYPES = ["uint8", "int8", "float16", "int32", "float32", "int64", "float64", "bool"]
TENSORS = st.lists(
    st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(1, 5), max_size=3).map(tuple)), min_size=1, max_size=4
)


@settings(max_examples=60, deadline=None)
@given(TENSORS, st.integers(1, 3), st.integers(1, 4))
def test_tensors_of_all_slots_lie_apart_and_aligned(
    tensors: list[tuple[str, tuple[int, ...]]], slots: int, max_batch: int
) -> None:
    specs = tuple(TensorSpec(f"t{index}", dtype, shape) for index, (dtype, shape) in enumerate(tensors))
    table = OutputTable.create(OutputLayout(slots, max_batch, specs))
    arrays = OutputTensors(table)
    views = [arrays.view(slot, index, max_batch) for slot in range(slots) for index in range(len(specs))]
    for number, view in enumerate(views):
        assert view.ctypes.data % 64 == 0
        view.reshape(-1).view(np.uint8)[...] = number % 2
    for number, view in enumerate(views):
        assert (view.reshape(-1).view(np.uint8) == number % 2).all()
        assert not any(np.shares_memory(view, other) for other in views[:number])
    assert table.free_slots() == list(range(slots))
    del views, view
    table.close()


def test_outputs_of_a_batch_by_name_each_in_its_own_shape() -> None:
    specs = (TensorSpec("fixed", "float32", (2,)), TensorSpec("varying", "int64", (3, 4), fixed=False))
    table = OutputTable.create(OutputLayout(2, 3, specs))
    arrays = OutputTensors(table)
    arrays.view(1, 0, 2)[...] = [[1, 2], [3, 4]]
    table.set_shape(1, 1, (2, 2))
    arrays.view(1, 1, 2, (2, 2))[...] = np.arange(8).reshape(2, 2, 2)
    table.describe(1, [FrameRecord(0, number, 1, 2, 3, 4, 5, 6) for number in range(2)])
    table.deliver(1, BatchTimes(1, 2, 3))
    outputs = arrays.outputs(1, 2)
    assert outputs["fixed"].tolist() == [[1, 2], [3, 4]]
    assert outputs["varying"].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]
    del outputs
    table.close()
