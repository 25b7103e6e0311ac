# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edged.geometry import Align, Region, Resize, Size, place
from edged.stages.postprocess.mask import covered_box, covered_cells, encode_png

WIDE = (1080, 1920)


@pytest.mark.parametrize(
    ("resize", "align", "source", "grid", "cells", "box"),
    [
        ("letterbox", "center", WIDE, (640, 640), (0, 140, 640, 500), (0, 0, 1920, 1080)),
        ("letterbox", "top-left", WIDE, (640, 640), (0, 0, 640, 360), (0, 0, 1920, 1080)),
        ("letterbox", "center", (1920, 1080), (640, 640), (140, 0, 500, 640), (0, 0, 1080, 1920)),
        # A quarter of the input: 140 / 4 = 35 and 500 / 4 = 125 are whole.
        ("letterbox", "center", WIDE, (160, 160), (0, 35, 160, 125), (0, 0, 1920, 1080)),
        # An eighth: 17.5 and 62.5; the centre of cell 17 (pixel 140) is in the picture, that of cell 62 (500) is not.
        ("letterbox", "center", WIDE, (80, 80), (0, 17, 80, 62), (0, 0, 1920, 1068)),
        ("stretch", "center", WIDE, (80, 80), (0, 0, 80, 80), (0, 0, 1920, 1080)),
        ("center-crop", "center", WIDE, (80, 80), (0, 0, 80, 80), (420, 0, 1500, 1080)),
        # A picture thinner than half a cell still gets the cell it lies in.
        ("letterbox", "center", (1, 640), (20, 20), (0, 9, 20, 10), (0, 0, 640, 1)),
        # One row on an input of one row.
        ("letterbox", "center", (1, 4000), (640, 640), (0, 319, 640, 320), (0, 0, 4000, 1)),
    ],
)
def test_known_parts(resize: Resize, align: Align, source: Size, grid: Size, cells: Region, box: Region) -> None:
    placement = place(resize, align, source, (640, 640))
    assert covered_cells(grid, placement) == cells
    assert covered_box(cells, grid, placement) == pytest.approx(box, abs=0.01)


sides = st.integers(1, 700)
sizes = st.tuples(sides, sides)


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(["letterbox", "stretch", "center-crop"]), sizes, sizes, sizes)
def test_some_cells_and_only_real_ones(resize: Resize, source: Size, size: Size, grid: Size) -> None:
    placement = place(resize, "center", source, size)
    cells = covered_cells(grid, placement)
    x1, y1, x2, y2 = cells
    assert 0 <= x1 < x2 <= grid[1]
    assert 0 <= y1 < y2 <= grid[0]
    bx1, by1, bx2, by2 = covered_box(cells, grid, placement)
    assert 0 <= bx1 <= bx2 <= source[1]
    assert 0 <= by1 <= by2 <= source[0]
    if grid == size:
        assert cells == placement.target


@settings(deadline=None, max_examples=100)
@given(sizes, sizes, sizes)
def test_a_cell_belongs_to_the_picture_if_its_centre_does(source: Size, size: Size, grid: Size) -> None:
    placement = place("letterbox", "center", source, size)
    x1, _, x2, _ = covered_cells(grid, placement)
    start, stop = placement.target[0], placement.target[2]
    # Twice the grid's width times the centre, all in whole numbers.
    inside = [j for j in range(grid[1]) if 2 * grid[1] * start <= (2 * j + 1) * size[1] < 2 * grid[1] * stop]
    if inside:
        assert list(range(x1, x2)) == inside
    else:
        assert x2 - x1 == 1


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (300, 1), (64, 48)])
def test_png_keeps_every_class_number(shape: Size) -> None:
    mask = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    decoded = cv2.imdecode(np.frombuffer(encode_png(mask), np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    assert decoded.dtype == np.uint8
    np.testing.assert_array_equal(decoded, mask)
