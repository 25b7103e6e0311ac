# SPDX-License-Identifier: Apache-2.0
"""Crop, rotation and mask: right pixels, nothing of what is masked."""

from __future__ import annotations

import json

import cv2
import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from edged.config import load
from edged.errors import ConfigError
from edged.records import WHOLE, View
from edged.stages.capture.crop import ViewPlan
from edged.stages.capture.fit import FitPlan, Fitter

Image = NDArray[np.uint8]

fractions = st.integers(0, 64).map(lambda part: part / 64)
plans = st.builds(
    FitPlan,
    size=st.tuples(st.integers(1, 96), st.integers(1, 96)),
    resize=st.sampled_from(["letterbox", "stretch", "center-crop"]),
    align=st.sampled_from(["center", "top-left"]),
    interpolation=st.sampled_from(["linear", "cubic", "area"]),
)


@st.composite
def looks(draw: st.DrawFn) -> ViewPlan:
    crop = None
    if draw(st.booleans()):
        x1, x2 = sorted(draw(st.sets(fractions, min_size=2, max_size=2)))
        y1, y2 = sorted(draw(st.sets(fractions, min_size=2, max_size=2)))
        crop = (x1, y1, x2, y2)
    return ViewPlan(rotate=draw(st.sampled_from([0, 90, 180, 270])), crop=crop)


def _noise(height: int, width: int, seed: int = 0) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def _fitted(plan: FitPlan, look: ViewPlan, image: Image) -> Image:
    fitter = Fitter(plan, look)
    out = np.full((*fitter.input_size(*image.shape[:2]), 3), 7, np.uint8)
    fitter.fit(image, out)
    return out


@settings(deadline=None, max_examples=200)
@given(plan=plans, look=looks(), height=st.integers(1, 120), width=st.integers(1, 120))
def test_the_part_is_scaled_turned_and_padded(plan: FitPlan, look: ViewPlan, height: int, width: int) -> None:
    image = _noise(height, width)
    fitter = Fitter(plan, look)
    p = fitter.placement(height, width)
    left, top, right, bottom = p.crop
    part = np.ascontiguousarray(image[top:bottom, left:right])
    method = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}[plan.interpolation]
    drawn = part if part.shape[:2] == p.drawn else cv2.resize(part, (p.drawn[1], p.drawn[0]), interpolation=method)
    expected = np.full((*p.input, 3), plan.pad, np.uint8)
    x1, y1, x2, y2 = p.target
    expected[y1:y2, x1:x2] = np.rot90(drawn, -look.rotate // 90)
    np.testing.assert_array_equal(_fitted(plan, look, image), expected)
    # A device that has cut and scaled already leads to the same frame.
    out = np.zeros_like(expected)
    fitter.fit(np.ascontiguousarray(drawn), out, (height, width))
    np.testing.assert_array_equal(out, expected)


@settings(deadline=None, max_examples=150)
@given(
    plan=plans,
    look=looks(),
    polygon=st.lists(st.tuples(fractions, fractions), min_size=3, max_size=6),
    height=st.integers(2, 120),
    width=st.integers(2, 120),
)
def test_nothing_of_what_is_masked_shows(
    plan: FitPlan, look: ViewPlan, polygon: list[tuple[float, float]], height: int, width: int
) -> None:
    masked = msgspec.structs.replace(look, mask=(tuple(side for point in polygon for side in point),))
    corners = np.rint(np.array(polygon) * (width, height) * 16 - 8).astype(np.int32)
    inside = np.zeros((height, width), np.uint8)
    cv2.fillPoly(inside, [corners], 1, shift=4)
    # Only pixels that lie wholly within the polygon: its edges are drawn, too.
    wholly = cv2.erode(inside, np.ones((3, 3), np.uint8), borderType=cv2.BORDER_CONSTANT, borderValue=0)
    image = _noise(height, width)
    other = image.copy()
    other[wholly > 0] = _noise(height, width, 1)[wholly > 0]
    np.testing.assert_array_equal(_fitted(plan, masked, image), _fitted(plan, masked, other))


def test_a_mask_is_black_and_leaves_the_rest_alone() -> None:
    plan, image = FitPlan(size=(100, 100)), np.full((200, 400, 3), 200, np.uint8)
    out = _fitted(plan, ViewPlan(mask=((0.5, 0.0, 1.0, 1.0), (0.0, 0.0, 0.25, 0.0, 0.0, 0.5))), image)
    picture = out[25:75]
    assert (picture[:, 52:] == 0).all()
    assert (picture[30:, :47] == 200).all()
    assert (picture[2:8, 2:8] == 0).all()
    assert (picture[20:, 20:47] == 200).all()
    assert (out[:25] == 114).all()
    assert (out[75:] == 114).all()


def test_a_mask_stays_where_it_is_when_the_picture_is_turned_and_cropped() -> None:
    """It is given on the source's picture, whatever else is asked for."""
    image = np.full((100, 200, 3), 200, np.uint8)
    corner = (0.0, 0.0, 0.5, 0.5)  # left half of the upper half
    turned = _fitted(FitPlan(size=(200, 100)), ViewPlan(rotate=90, mask=(corner,)), image)
    assert (turned[:95, 55:] == 0).all()  # upper left goes to the upper right
    assert (turned[105:] == 200).all()
    cropped = _fitted(FitPlan(size=(50, 100)), ViewPlan(crop=(0.5, 0.0, 1.0, 0.5), mask=(corner,)), image)
    assert (cropped[:, 3:] == 200).all()


@pytest.mark.parametrize(
    ("look", "view"),
    [
        (ViewPlan(), WHOLE),
        (ViewPlan(mask=((0.0, 0.0, 1.0, 0.5),)), WHOLE),
        (ViewPlan(rotate=270), View(3)),
        (ViewPlan(crop=(0.25, 0.0, 0.75, 1.0)), View(0, (160, 0, 480, 480))),
        (ViewPlan(rotate=90, crop=(0.999, 0.999, 1.0, 1.0)), View(1, (639, 479, 640, 480))),
        (ViewPlan(crop=(0.0, 0.0, 0.0001, 0.0001)), View(0, (0, 0, 1, 1))),
    ],
)
def test_views(look: ViewPlan, view: View) -> None:
    assert look.view(480, 640) == view
    assert msgspec.convert(msgspec.to_builtins(look), ViewPlan) == look


def test_dynamic_inputs_follow_the_upright_part() -> None:
    from edged.stages.capture.fit import SizeRange

    sizes = SizeRange(min=(64, 64), opt=(128, 128), max=(256, 256), multiple=32)
    wide = Fitter(FitPlan(size=sizes)).input_size(720, 1280)
    tall = Fitter(FitPlan(size=sizes), ViewPlan(rotate=90)).input_size(720, 1280)
    assert tall == (wide[1], wide[0])
    square = Fitter(FitPlan(size=sizes), ViewPlan(crop=(0.0, 0.0, 0.5625, 1.0))).input_size(720, 1280)
    assert square == (128, 128)


@pytest.mark.parametrize(
    ("keys", "mentions"),
    [
        ({"rotate": 45}, "0, 90, 180 or 270"),
        ({"crop": [0.5, 0.0, 0.5, 1.0]}, "x1 < x2"),
        ({"crop": [0, 0, 1920, 1080]}, "at most 1"),
        ({"crop": [0.0, 1.0]}, "crop"),
        ({"mask": [[0.1, 0.1, 0.2]]}, "mask[0]"),
        ({"mask": [[0.0, 0.0, 1.0, 1.0], [0.5, 0.1, 0.4, 0.2]]}, "mask[1]"),
        ({"mask": [[0.1, 0.1, 0.2, 0.2, 0.3]]}, "x, y of three corners or more"),
        ({"mask": [[0.1, 0.1, 0.2, 2.0]]}, "at most 1"),
    ],
)
def test_settings_that_are_refused(keys: dict[str, object], mentions: str) -> None:
    source = json.dumps([{"name": "a", "uri": "synthetic://shapes", **keys}])
    with pytest.raises(ConfigError) as caught:
        load(None, ["--model.spec=m", f"--sources={source}"], {})
    assert mentions in str(caught.value)


def test_settings_make_the_plan_that_travels() -> None:
    keys = {"rotate": 90, "crop": [0, 0.25, 1, 0.75], "mask": [[0, 0, 0.5, 0.5], [0, 0, 1, 0, 0, 1]]}
    source = json.dumps([{"name": "a", "uri": "synthetic://shapes", **keys}])
    settings_of = load(None, ["--model.spec=m", f"--sources={source}"], {}).settings.sources[0]
    body = msgspec.json.decode(msgspec.json.encode(settings_of.model_dump(include={"rotate", "crop", "mask"})))
    assert msgspec.convert(body, ViewPlan) == ViewPlan(
        rotate=90, crop=(0, 0.25, 1, 0.75), mask=((0, 0, 0.5, 0.5), (0, 0, 1, 0, 0, 1))
    )
