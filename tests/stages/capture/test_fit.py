# SPDX-License-Identifier: Apache-2.0
"""Fitting: right pixels, in place, nothing of the frame before, no full copy on the way."""

from __future__ import annotations

import mmap
import tracemalloc

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.geometry import Align, Resize, place
from edged.model import InputSpec
from edged.stages.capture.fit import FitPlan, Fitter, SizeRange

Image = NDArray[np.uint8]
CODES = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


def _image(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _slot(height: int, width: int) -> Image:
    """A view into shared memory, dirty from the frame before."""
    shared = mmap.mmap(-1, height * width * 3 + 64)
    view = np.frombuffer(shared, np.uint8)[64:].reshape(height, width, 3)
    view[:] = 7
    return view


def _expected(plan: FitPlan, image: Image, size: tuple[int, int]) -> Image:
    placement = place(plan.resize, plan.align, (image.shape[0], image.shape[1]), size)
    x0, y0, x1, y1 = placement.target
    left, top, right, bottom = placement.crop
    out = np.full((*size, 3), plan.pad, np.uint8)
    crop = np.ascontiguousarray(image[top:bottom, left:right])
    out[y0:y1, x0:x1] = cv2.resize(crop, (x1 - x0, y1 - y0), interpolation=CODES[plan.interpolation])
    return out


@settings(deadline=None, max_examples=150)
@given(
    source=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    size=st.tuples(st.integers(1, 128), st.integers(1, 128)),
    resize=st.sampled_from(["letterbox", "stretch", "center-crop"]),
    align=st.sampled_from(["center", "top-left"]),
    interpolation=st.sampled_from(["linear", "cubic", "area"]),
    pad=st.integers(0, 255),
)
def test_same_as_resize_and_paste(
    source: tuple[int, int], size: tuple[int, int], resize: Resize, align: Align, interpolation: str, pad: int
) -> None:
    plan = msgspec.convert(
        {"size": size, "resize": resize, "align": align, "pad": pad, "interpolation": interpolation}, FitPlan
    )
    image, slot = _image(*source), _slot(*size)
    Fitter(plan).fit(image, slot)
    np.testing.assert_array_equal(slot, _expected(plan, image, size))


def test_slot_is_reused_by_other_shapes() -> None:
    """A source that changes its resolution leaves nothing of the older picture in the padding."""
    fitter = Fitter(FitPlan(size=(64, 64), pad=114))
    slot = _slot(64, 64)
    for seed, shape in enumerate([(48, 64), (64, 48), (64, 64), (30, 60), (64, 48)]):
        image = _image(*shape, seed=seed)
        fitter.fit(image, slot)
        np.testing.assert_array_equal(slot, _expected(FitPlan(size=(64, 64)), image, (64, 64)))


@pytest.mark.parametrize("shape", [(720, 1280), (1280, 720), (640, 640), (360, 640)])
@pytest.mark.parametrize("resize", ["letterbox", "stretch", "center-crop"])
def test_no_copy_on_the_way(shape: tuple[int, int], resize: Resize) -> None:
    fitter, image, slot = Fitter(FitPlan(size=(640, 640), resize=resize)), _image(*shape), _slot(640, 640)
    fitter.fit(image, slot)
    tracemalloc.start()
    try:
        fitter.fit(image, slot)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # numpy and OpenCV's numpy allocator both report to tracemalloc: one row of the picture would show.
    assert peak < 640 * 3


def test_picture_need_not_be_contiguous() -> None:
    plan = FitPlan(size=(64, 64))
    image, slot = _image(100, 200)[10:90, 20:120], _slot(64, 64)
    Fitter(plan).fit(image, slot)
    np.testing.assert_array_equal(slot, _expected(plan, image, (64, 64)))


def test_never_writes_elsewhere_unnoticed() -> None:
    """OpenCV allocates when the destination does not fit; the slot would keep its old frame."""
    with pytest.raises((InternalError, cv2.error)):
        Fitter(FitPlan(size=(64, 64))).fit(_image(100, 200), np.zeros((64, 64, 4), np.uint8))


def test_dynamic_size_follows_the_source() -> None:
    plan = FitPlan(size=SizeRange(min=(64, 64), opt=(128, 128), max=(256, 256), multiple=32))
    fitter = Fitter(plan)
    wide, tall = fitter.input_size(720, 1280), fitter.input_size(1280, 720)
    assert wide == (tall[1], tall[0])
    assert wide[0] < wide[1]
    assert all(side % 32 == 0 and 64 <= side <= 256 for side in wide)
    for shape in ((72, 128), (128, 72)):
        size, image = fitter.input_size(*shape), _image(*shape)
        slot = _slot(*size)
        fitter.fit(image, slot)
        np.testing.assert_array_equal(slot, _expected(plan, image, size))


@pytest.mark.parametrize(
    "size", [[640, 480], {"min": [256, 256], "opt": [513, 513], "max": [1024, 1024], "multiple": 1}]
)
def test_plan_travels_as_json(size: object) -> None:
    spec = InputSpec.model_validate({"size": size, "resize": "stretch", "pad": 3, "align": "top-left"})
    plan = FitPlan.from_input(spec)
    assert msgspec.json.decode(msgspec.json.encode(plan), type=FitPlan) == plan
    assert msgspec.convert(msgspec.to_builtins(plan), FitPlan) == plan
    assert (plan.resize, plan.pad, plan.align, plan.interpolation) == ("stretch", 3, "top-left", "linear")
    fixed = Fitter(plan).input_size(480, 640)
    assert fixed == (640, 480) if isinstance(size, list) else fixed[0] < fixed[1]
