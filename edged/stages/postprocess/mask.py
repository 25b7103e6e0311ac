# SPDX-License-Identifier: Apache-2.0
"""Segmentation masks: the model's grid without its padding, and the part of the picture that it covers."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.geometry import Placement, Region, Size, to_source


def covered_cells(grid: Size, placement: Placement) -> Region:
    """Find the cells of the model's grid that show the picture.

    A cell belongs to the picture if its centre does; where the grid is as fine as the input, that is exactly the input
    without its padding.

    Args:
        grid: height, width of the mask, cells.
        placement: how the picture was placed on the input.

    Returns:
        x1, y1, x2, y2 in cells; at least one cell each way.
    """
    x1, x2 = _span(placement.target[0], placement.target[2], grid[1], placement.input[1])
    y1, y2 = _span(placement.target[1], placement.target[3], grid[0], placement.input[0])
    return x1, y1, x2, y2


def _span(start: int, stop: int, cells: int, pixels: int) -> tuple[int, int]:
    """Cells of one axis whose centre lies in start ≤ pixel < stop; the one in its middle where there is none.

    Cell j's centre is at (j + 1/2) * pixels / cells, so the first is ceil(start * cells / pixels - 1/2), computed in
    whole numbers.
    """
    first = -(-(2 * start * cells - pixels) // (2 * pixels))
    after = -(-(2 * stop * cells - pixels) // (2 * pixels))
    if first >= after:
        first = min((start + stop) * cells // (2 * pixels), cells - 1)
        after = first + 1
    return first, after


def covered_box(cells: Region, grid: Size, placement: Placement) -> tuple[float, float, float, float]:
    """Find the part of the source's picture that cells of the model's grid cover.

    Args:
        cells: x1, y1, x2, y2 in cells.
        grid: height, width of the mask, cells.
        placement: how the picture was placed on the input.

    Returns:
        x1, y1, x2, y2 in source pixels, clipped to the picture, rounded to 0.01: where a grid coarser than the input
        ends in the padding, up to half a cell is clipped.
    """
    step_x, step_y = placement.input[1] / grid[1], placement.input[0] / grid[0]
    on_input = np.array([cells], np.float64) * (step_x, step_y, step_x, step_y)
    x1, y1, x2, y2 = np.round(to_source(on_input, placement).astype(np.float64), 2)[0].tolist()
    return x1, y1, x2, y2


def encode_png(mask: NDArray[np.uint8]) -> bytes:
    """Compress a mask without loss.

    Args:
        mask: uint8 [h, w].

    Returns:
        A PNG file: 8 bits, grey.

    Raises:
        InternalError: OpenCV cannot encode it.
    """
    done, png = cv2.imencode(".png", mask)
    if not done:
        raise InternalError(f"a mask of shape {list(mask.shape)} cannot be encoded as PNG", where="postprocess")
    return png.tobytes()
