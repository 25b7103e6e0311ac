# SPDX-License-Identifier: Apache-2.0
"""Masks without their padding, and the part of the source that they cover."""

from __future__ import annotations

import dataclasses
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec import UNSET
from numpy.typing import NDArray
from support.frame_records import frame

from edged.geometry import Resize
from edged.records import FrameRecord, View
from edged.stages.postprocess.plan import PostprocessPlan
from edged.stages.postprocess.predictions import Postprocessor, Result


def segment(mask: NDArray[Any], record: FrameRecord, resize: Resize = "letterbox") -> tuple[Result, NDArray[Any]]:
    result = Postprocessor(PostprocessPlan(task="segmentation", resize=resize)).run({"mask": mask}, 1, record)
    (blob,) = result.blobs
    decoded = cv2.imdecode(np.frombuffer(blob, np.uint8), cv2.IMREAD_UNCHANGED)
    assert decoded is not None
    return result, np.asarray(decoded)


@pytest.mark.parametrize("shrink", [1, 4])
def test_mask_without_its_padding(shrink: int) -> None:
    # A 1920 x 1080 picture on 640 x 640 covers rows 140 to 500. Its left half is class 1, the right 2, padding 255.
    side = 640 // shrink
    grid = np.full((2, side, side), 255, np.uint8)
    grid[1, 140 // shrink : 500 // shrink, : side // 2] = 1
    grid[1, 140 // shrink : 500 // shrink, side // 2 :] = 2
    result, decoded = segment(grid, frame())
    expected = np.ones((360 // shrink, side), np.uint8)
    expected[:, side // 2 :] = 2
    np.testing.assert_array_equal(decoded, expected)
    mask = result.mask
    assert mask is not UNSET
    assert (mask.blob, mask.shape, mask.dtype, mask.encoding) == (0, (360 // shrink, side), "uint8", "png")
    assert mask.box == (0.0, 0.0, 1920.0, 1080.0)
    assert (result.detections, result.classes, result.tensors) == (UNSET, UNSET, UNSET)


def test_mask_of_a_centre_crop_says_which_part_it_covers() -> None:
    grid = np.random.default_rng(0).integers(0, 9, (2, 64, 64), dtype=np.uint8)
    result, decoded = segment(grid, frame(), "center-crop")
    np.testing.assert_array_equal(decoded, grid[1])
    assert result.mask is not UNSET
    assert result.mask.box == (420.0, 0.0, 1500.0, 1080.0)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_mask_of_a_turned_part_lies_over_the_source(turns: int) -> None:
    region = (100, 40, 300, 140)  # 200 x 100
    seen = np.arange(100 * 200, dtype=np.uint32).reshape(100, 200).astype(np.uint8)
    upright = np.rot90(seen, -turns)
    record = dataclasses.replace(frame((480, 640), (200, 200)), view=View(turns, region))
    grid = np.full((2, 200, 200), 7, np.uint8)
    top, left = (200 - upright.shape[0]) // 2, (200 - upright.shape[1]) // 2
    grid[1, top : top + upright.shape[0], left : left + upright.shape[1]] = upright
    result, decoded = segment(grid, record)
    assert result.mask is not UNSET
    assert result.mask.box == (100.0, 40.0, 300.0, 140.0)
    assert result.mask.shape == (100, 200)
    np.testing.assert_array_equal(decoded, seen)


def test_mask_of_a_frame_one_pixel_high() -> None:
    grid = np.zeros((2, 80, 80), np.uint8)
    grid[1, 39] = 5
    result, decoded = segment(grid, frame((1, 4000)))
    assert result.mask is not UNSET
    assert result.mask.shape == decoded.shape == (1, 80)
    assert (decoded == 5).all()
    assert result.mask.box == (0.0, 0.0, 4000.0, 1.0)
