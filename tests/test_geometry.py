# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from edged.errors import InternalError, ModelError
from edged.geometry import Align, Placement, Region, Resize, Size, dynamic_size, place, to_input, to_source, viewed
from edged.records import View

MODES: list[tuple[Resize, Align]] = [
    ("letterbox", "center"),
    ("letterbox", "top-left"),
    ("stretch", "center"),
    ("center-crop", "center"),
]
sides = st.integers(1, 4096)
sizes = st.tuples(sides, sides)
modes = st.sampled_from(MODES)
quick = settings(deadline=None, max_examples=200)


@st.composite
def views(draw: st.DrawFn, source: Size) -> View:
    x1, y1 = draw(st.integers(0, source[1] - 1)), draw(st.integers(0, source[0] - 1))
    region = (x1, y1, draw(st.integers(x1 + 1, source[1])), draw(st.integers(y1 + 1, source[0])))
    return View(draw(st.integers(0, 3)), draw(st.sampled_from([None, region])))


@st.composite
def placements(draw: st.DrawFn) -> Placement:
    resize, align = draw(modes)
    source = draw(sizes)
    return place(resize, align, source, draw(sizes), draw(views(source)))


@st.composite
def boxes(draw: st.DrawFn, region: Region) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    x1, y1, x2, y2 = region
    unit = st.floats(0, 1, width=32)
    corners = draw(st.lists(st.tuples(unit, unit, unit, unit), min_size=1, max_size=5))
    return (np.array(corners) * (x2 - x1, y2 - y1, x2 - x1, y2 - y1) + (x1, y1, x1, y1)).astype(np.float32)


@pytest.mark.parametrize(
    ("resize", "align", "source", "size", "crop", "target"),
    [
        ("letterbox", "center", (1080, 1920), (640, 640), (0, 0, 1920, 1080), (0, 140, 640, 500)),
        ("letterbox", "top-left", (1080, 1920), (640, 640), (0, 0, 1920, 1080), (0, 0, 640, 360)),
        ("letterbox", "center", (1920, 1080), (640, 640), (0, 0, 1080, 1920), (140, 0, 500, 640)),
        ("letterbox", "center", (427, 640), (640, 640), (0, 0, 640, 427), (0, 106, 640, 533)),
        ("letterbox", "center", (480, 640), (640, 640), (0, 0, 640, 480), (0, 80, 640, 560)),
        ("letterbox", "center", (480, 640), (480, 640), (0, 0, 640, 480), (0, 0, 640, 480)),
        ("letterbox", "center", (1, 4000), (64, 64), (0, 0, 4000, 1), (0, 31, 64, 32)),
        ("letterbox", "center", (4000, 1), (64, 64), (0, 0, 1, 4000), (31, 0, 32, 64)),
        ("stretch", "center", (1080, 1920), (224, 320), (0, 0, 1920, 1080), (0, 0, 320, 224)),
        ("center-crop", "center", (480, 640), (224, 224), (80, 0, 560, 480), (0, 0, 224, 224)),
        ("center-crop", "top-left", (640, 480), (224, 224), (0, 80, 480, 560), (0, 0, 224, 224)),
        ("center-crop", "center", (1080, 1920), (480, 640), (240, 0, 1680, 1080), (0, 0, 640, 480)),
        ("center-crop", "center", (1, 4000), (64, 64), (1999, 0, 2000, 1), (0, 0, 64, 64)),
    ],
)
def test_known_placements(resize: Resize, align: Align, source: Size, size: Size, crop: Region, target: Region) -> None:
    placement = place(resize, align, source, size)
    assert (placement.crop, placement.target) == (crop, target)
    assert (placement.source, placement.input) == (source, size)


def test_a_side_that_floats_would_cut_short_stays_whole() -> None:
    short = [h for h in range(1, 2000) if math.floor(h * (480 / h)) != 480]
    assert short, "floats never lose a pixel here, so this test proves nothing"
    for h in short:
        assert place("letterbox", "center", (h, h), (480, 480)).target == (0, 0, 480, 480)


@quick
@given(modes, sizes, sizes)
def test_regions_lie_inside(mode: tuple[Resize, Align], source: Size, size: Size) -> None:
    p = place(*mode, source, size)
    for (x1, y1, x2, y2), (h, w) in ((p.crop, source), (p.target, size)):
        assert 0 <= x1 < x2 <= w
        assert 0 <= y1 < y2 <= h


@quick
@given(sizes, sizes, st.sampled_from(["center", "top-left"]))
def test_letterbox_is_the_floor_of_the_exact_factor(source: Size, size: Size, align: Align) -> None:
    p = place("letterbox", align, source, size)
    factor = min(Fraction(size[0], source[0]), Fraction(size[1], source[1]))
    x1, y1, x2, y2 = p.target
    assert (y2 - y1, x2 - x1) == tuple(max(1, math.floor(side * factor)) for side in source)
    free = (size[0] - (y2 - y1), size[1] - (x2 - x1))
    assert (y1, x1) == ((free[0] // 2, free[1] // 2) if align == "center" else (0, 0))


@quick
@given(sizes, sizes)
def test_center_crop_is_the_largest_centred_part(source: Size, size: Size) -> None:
    x1, y1, x2, y2 = place("center-crop", "center", source, size).crop
    assert x2 - x1 == source[1] or y2 - y1 == source[0]
    assert 0 <= (source[1] - x2) - x1 <= 1
    assert 0 <= (source[0] - y2) - y1 <= 1
    factor = min(Fraction(source[0], size[0]), Fraction(source[1], size[1]))
    assert abs((x2 - x1) - size[1] * factor) <= 1
    assert abs((y2 - y1) - size[0] * factor) <= 1


@quick
@given(st.data(), placements())
def test_there_and_back_is_the_same_box(data: st.DataObject, placement: Placement) -> None:
    inside = data.draw(boxes(viewed(placement.source, placement.view)))
    back = to_source(to_input(inside, placement), placement)
    assert back.dtype == np.float32
    # float32 input pixels: an error of 2**-23 of the largest coordinate, seen through the scale.
    largest = 4 * 4096 * max(1.0, placement.scale_x, placement.scale_y) * 2.0**-23
    np.testing.assert_allclose(back, inside, atol=largest / min(1.0, placement.scale_x, placement.scale_y))


@quick
@given(st.data(), placements())
def test_boxes_never_leave_what_is_looked_at(data: st.DataObject, placement: Placement) -> None:
    x1, y1, x2, y2 = viewed(placement.source, placement.view)
    anywhere = np.array(data.draw(st.lists(st.lists(st.floats(-1e9, 1e9), min_size=4, max_size=4), max_size=5)))
    mapped = to_source(anywhere.reshape(-1, 4), placement)
    assert mapped.shape == (len(anywhere), 4)
    assert (mapped >= (x1, y1, x1, y1)).all()
    assert (mapped <= (x2, y2, x2, y2)).all()


@quick
@given(placements())
def test_the_target_is_the_crop(placement: Placement) -> None:
    back = to_source(np.array([placement.target], np.float32), placement)
    np.testing.assert_allclose(back, [placement.crop], rtol=1e-6)


def test_known_boxes() -> None:
    box = np.array([[100, 150, 200, 250]], np.float32)
    wide = (1080, 1920)
    known: dict[tuple[Resize, Align], list[float]] = {
        ("letterbox", "center"): [300, 30, 600, 330],
        ("letterbox", "top-left"): [300, 450, 600, 750],
        ("stretch", "center"): [300, 253.125, 600, 421.875],
        ("center-crop", "center"): [588.75, 253.125, 757.5, 421.875],
    }
    for (resize, align), expected in known.items():
        np.testing.assert_allclose(to_source(box, place(resize, align, wide, (640, 640))), [expected], rtol=1e-6)


def test_axes_go_by_the_sizes_drawn_not_by_the_factor() -> None:
    # 100 x 33 on 32 x 32: 32 x floor(10.56) = 10 rows, whose last one is the picture's last row.
    p = place("letterbox", "center", (33, 100), (32, 32))
    assert p.target == (0, 11, 32, 21)
    assert (p.scale_x, p.scale_y) == (32 / 100, 10 / 33)
    np.testing.assert_allclose(to_source(np.array([[0, 11, 32, 21]], np.float32), p), [[0, 0, 100, 33]], rtol=1e-6)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
@pytest.mark.parametrize(("resize", "size"), [("stretch", None), ("letterbox", (90, 120)), ("center-crop", (24, 40))])
def test_turned_boxes_lie_where_the_turned_picture_shows_the_block(
    turns: int, resize: Resize, size: Size | None
) -> None:
    source = np.zeros((60, 100), np.uint8)
    source[20:30, 45:60] = 255
    region = (30, 10, 70, 40)
    seen = np.rot90(source[10:40, 30:70], -turns)  # numpy turns counterclockwise
    p = place(resize, "center", source.shape, seen.shape if size is None else size, View(turns, region))
    x1, y1, x2, y2 = p.target
    if resize == "center-crop":
        seen = np.rot90(source[p.crop[1] : p.crop[3], p.crop[0] : p.crop[2]], -turns)
    block = to_input(np.array([[45, 20, 60, 30]], np.float32), p)[0]
    rows, columns = np.nonzero(seen)
    fx, fy = (x2 - x1) / seen.shape[1], (y2 - y1) / seen.shape[0]
    shown = [columns.min() * fx + x1, rows.min() * fy + y1, (columns.max() + 1) * fx + x1, (rows.max() + 1) * fy + y1]
    np.testing.assert_allclose(np.clip(block, (x1, y1, x1, y1), (x2, y2, x2, y2)), shown, atol=1e-4)


def test_the_crop_and_the_boxes_agree_with_a_picture() -> None:
    # A marked pixel block of the source is found on the input where to_input says.
    source = np.zeros((90, 160), np.uint8)
    source[30:60, 70:100] = 255
    p = place("center-crop", "center", source.shape, (45, 45))
    x1, y1, x2, y2 = p.crop
    drawn = source[y1:y2:2, x1:x2:2]
    assert drawn.shape == (45, 45)
    rows, columns = np.nonzero(drawn)
    found = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    np.testing.assert_allclose(to_input(np.array([[70, 30, 100, 60]], np.float32), p)[0], found, atol=1)


def test_nan_stays_nan_and_infinity_is_clipped() -> None:
    p = place("letterbox", "center", (480, 640), (640, 640))
    mapped = to_source(np.array([[np.nan, -np.inf, np.inf, np.inf]], np.float32), p)[0]
    assert math.isnan(mapped[0])
    assert mapped[1:].tolist() == [0, 640, 480]


@pytest.mark.parametrize(("source", "size"), [((0, 10), (4, 4)), ((10, 10), (4, 0)), ((-1, 10), (4, 4))])
def test_a_size_without_pixels_is_refused(source: Size, size: Size) -> None:
    with pytest.raises(InternalError, match="cannot be placed"):
        place("stretch", "center", source, size)


@st.composite
def ranges(draw: st.DrawFn) -> tuple[Size, Size, Size, int]:
    multiple = draw(st.sampled_from([1, 8, 32, 64]))
    axes = [sorted(draw(st.lists(st.integers(1, 2048), min_size=3, max_size=3))) for _ in range(2)]
    for low, _, high in axes:
        assume(-(-low // multiple) * multiple <= high)
    (a, b, c), (d, e, f) = axes
    return (a, d), (b, e), (c, f), multiple


@quick
@given(sizes, ranges())
def test_dynamic_size_keeps_bounds_and_multiples(source: Size, bounds: tuple[Size, Size, Size, int]) -> None:
    low, opt, high, multiple = bounds
    size = dynamic_size(source, low, opt, high, multiple)
    for got, least, most in zip(size, low, high, strict=True):
        assert least <= got <= most
        assert got % multiple == 0


@quick
@given(st.floats(0.5, 2.0), st.integers(200, 4000), st.sampled_from([1, 8, 32]))
def test_dynamic_size_keeps_aspect_and_area(aspect: float, h: int, multiple: int) -> None:
    source = (h, round(h * aspect))
    got_h, got_w = dynamic_size(source, [256, 256], [512, 512], [1024, 1024], multiple)
    ideal_h = 512 * math.sqrt(source[0] / source[1])
    ideal_w = 512 * 512 / ideal_h
    assert abs(got_h - ideal_h) <= multiple / 2 + 1e-6
    assert abs(got_w - ideal_w) <= multiple / 2 + 1e-6


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ((480, 640), (448, 576)),  # ideal 443.4 x 591.2
        ((512, 512), (512, 512)),
        ((513, 513), (512, 512)),
        ((1080, 1920), (384, 672)),
        ((500, 2000), (256, 1024)),  # exactly 1:4, both bounds
        ((300, 1500), (256, 1024)),  # 1:5 does not fit: each side at its bound
        ((600, 2100), (288, 960)),  # 1:3.5
        ((1, 4000), (256, 1024)),
    ],
)
def test_known_dynamic_sizes(source: Size, expected: Size) -> None:
    assert dynamic_size(source, (256, 256), (512, 512), (1024, 1024), 32) == expected


def test_dynamic_size_shrinks_as_a_whole_at_a_bound() -> None:
    # At opt's area 1:2 would be 566 wide; the bound of 500 halves the height with it.
    assert dynamic_size((100, 200), (100, 100), (400, 400), (500, 500), 2) == (250, 500)


def test_dynamic_size_refuses_what_cannot_be() -> None:
    with pytest.raises(ModelError, match="no multiple of 64 lies between 70 and 120"):
        dynamic_size((10, 10), (70, 70), (100, 100), (120, 120), 64)
    with pytest.raises(InternalError, match="no input size fits"):
        dynamic_size((0, 10), (70, 70), (100, 100), (120, 120), 1)
