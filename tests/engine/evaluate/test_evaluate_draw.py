# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.draw import colour, side_by_side
from edged.engine.evaluate.result import Box, FrameResult

GREY = np.full((300, 400, 3), 128, np.uint8)
FOUND = FrameResult(boxes=(Box(class_id=1, score=0.9, box=(100.0, 120.0, 220.0, 260.0)),))


def panels(picture: bytes) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The two pictures without the bars on top."""
    decoded = np.asarray(cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR), np.uint8)
    width = (decoded.shape[1] - 8) // 2
    return decoded[22:, :width], decoded[22:, width + 8 :]


def test_a_box_is_drawn_where_it_was_found() -> None:
    left, right = panels(side_by_side(GREY, FOUND, FrameResult(), ["person", "kočka"]))
    assert left.shape == (300, 400, 3)
    assert tuple(left[200, 100].tolist()) == colour(1)
    assert (left[200, 150] == 128).all()
    assert (right == 128).all()
    assert (GREY == 128).all()


def test_large_pictures_are_shrunk_and_small_ones_are_not() -> None:
    left, _ = panels(side_by_side(np.full((900, 1200, 3), 128, np.uint8), FOUND, FOUND, []))
    assert left.shape[:2] == (360, 480)
    assert tuple(left[80, 40].tolist()) == colour(1)
    small, _ = panels(side_by_side(np.full((20, 30, 3), 128, np.uint8), FrameResult(), FrameResult(), []))
    assert small.shape[:2] == (20, 30)


def test_classes_are_written_and_masks_tint() -> None:
    mask = np.zeros((3, 4), np.uint8)
    mask[:, 2:] = 7
    png = cv2.imencode(".png", mask)[1].tobytes()
    left, right = panels(
        side_by_side(
            GREY, FrameResult(mask=png, mask_box=(0, 0, 400, 300)), FrameResult(classes=((0, 0.99),)), ["person"]
        )
    )
    assert (left[:, :200] == 128).all()
    assert not (left[:, 200:] == 128).all(axis=2).any()
    assert not (right[:24, :100] == 128).all()


def test_neighbours_have_other_colours() -> None:
    assert len({colour(number) for number in range(80)}) == 80
