# SPDX-License-Identifier: Apache-2.0
"""How a source's picture is placed on the model input, in both directions.

Capture draws by a `Placement`, postprocess and evaluation read boxes back by the same one, so they can't drift apart.
Sizes are (height, width), regions and boxes (x1, y1, x2, y2). Coordinates are continuous: pixel ``i`` covers
``[i, i + 1)``, which is also how ``cv2.resize`` maps one picture onto another.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError, ModelError
from edged.records import WHOLE, View

Resize = Literal["letterbox", "stretch", "center-crop"]
Align = Literal["center", "top-left"]
Size = tuple[int, int]
Region = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Placement:
    """Which part of a source's picture lies where on the model input.

    Attributes:
        source: height, width of the source's picture, pixels.
        input: height, width of the model input, pixels.
        crop: the part of the picture that is used, x1, y1, x2, y2 in source pixels; all of what is looked at except for
            center-crop.
        target: where that part lies on the input, x1, y1, x2, y2 in input pixels; what is outside is padding.
        view: how the source is looked at; a turned part lies turned on the input.
    """

    source: Size
    input: Size
    crop: Region
    target: Region
    view: View = WHOLE

    @property
    def drawn(self) -> Size:
        """Height, width of the part once it is scaled, before it is turned, input pixels."""
        x1, y1, x2, y2 = self.target
        return turned((y2 - y1, x2 - x1), self.view.turns)

    @property
    def scale_x(self) -> float:
        """Input pixels for one source pixel, along the source's rows."""
        return self.drawn[1] / (self.crop[2] - self.crop[0])

    @property
    def scale_y(self) -> float:
        """Input pixels for one source pixel, along the source's columns."""
        return self.drawn[0] / (self.crop[3] - self.crop[1])


def turned(size: Size, turns: int) -> Size:
    """Height, width of a picture after so many quarter turns."""
    return (size[1], size[0]) if turns % 2 else size


def viewed(source: Size, view: View) -> Region:
    """The part of a source's picture that is looked at, x1, y1, x2, y2 in source pixels."""
    return (0, 0, source[1], source[0]) if view.region is None else view.region


def place(resize: Resize, align: Align, source: Size, input: Size, view: View = WHOLE) -> Placement:
    """Place a source's picture on the model input.

    - ``letterbox``: the largest picture of the source's aspect that fits, sides rounded down; the rest is padding.
    - ``stretch``: the whole picture onto the whole input.
    - ``center-crop``: the largest centred part of the input's aspect, in whole pixels, onto the whole input.

    All three see only the part that is looked at, and see it upright.

    Args:
        resize: the mode.
        align: where a letterboxed picture lies; the other modes ignore it.
        source: height, width of the source's picture, pixels.
        input: height, width of the model input, pixels.
        view: how the source is looked at.

    Returns:
        The placement; its crop and target hold at least one pixel each way.

    Raises:
        InternalError: a size that is not positive.
    """
    (h, w), (in_h, in_w) = source, input
    x1, y1, x2, y2 = crop = viewed((h, w), view)
    if in_h < 1 or in_w < 1 or not (0 <= x1 < x2 <= w and 0 <= y1 < y2 <= h):
        raise InternalError(f"a picture of {w}x{h} cannot be placed on an input of {in_w}x{in_h} pixels")
    part, target = (y2 - y1, x2 - x1), (0, 0, in_w, in_h)
    if resize == "letterbox":
        target = _letterbox(align, turned(part, view.turns), (in_h, in_w))
    elif resize == "center-crop":
        left, top, right, bottom = _center_crop(part, turned((in_h, in_w), view.turns))
        crop = (x1 + left, y1 + top, x1 + right, y1 + bottom)
    return Placement(source=(h, w), input=(in_h, in_w), crop=crop, target=target, view=view)


def _letterbox(align: Align, source: Size, input: Size) -> Region:
    """Region of the input that a letterboxed picture covers.

    floor(side * min(H / h, W / w)) in whole numbers: with floats 480 could come out as 479.99999 and lose a pixel.
    """
    (h, w), (in_h, in_w) = source, input
    if in_h * w <= in_w * h:
        new_h, new_w = in_h, max(1, w * in_h // h)
    else:
        new_h, new_w = max(1, h * in_w // w), in_w
    x, y = ((in_w - new_w) // 2, (in_h - new_h) // 2) if align == "center" else (0, 0)
    return x, y, x + new_w, y + new_h


def _center_crop(source: Size, input: Size) -> Region:
    """Largest centred region of the source with the input's aspect, to the nearest whole pixel."""
    (h, w), (in_h, in_w) = source, input
    if in_h * w >= in_w * h:
        crop_h, crop_w = h, max(1, (2 * h * in_w + in_h) // (2 * in_h))
    else:
        crop_h, crop_w = max(1, (2 * w * in_h + in_w) // (2 * in_w)), w
    x, y = (w - crop_w) // 2, (h - crop_h) // 2
    return x, y, x + crop_w, y + crop_h


def to_source(boxes: NDArray[np.floating[Any]], placement: Placement) -> NDArray[np.float32]:
    """Map boxes from the model input back to the source's picture.

    Each axis goes by the ratio of the sizes really drawn (target side / crop side), not by the letterbox factor: the
    sides were rounded to whole pixels, so the factor would shift boxes by up to a pixel of the input.

    Args:
        boxes: float [n, 4], x1, y1, x2, y2 in input pixels; they may reach beyond the input.
        placement: how the picture was placed.

    Returns:
        float32 [n, 4] in source pixels, clipped to what is looked at of the picture: a box that lies wholly in the
        padding comes back without area. NaN stays NaN.
    """
    x1, y1, x2, y2 = viewed(placement.source, placement.view)
    (cx, cy, *_), (tx, ty, *_) = placement.crop, placement.target
    sx, sy = placement.scale_x, placement.scale_y
    moved = np.subtract(boxes, (tx, ty, tx, ty), dtype=np.float64)
    if placement.view.turns:
        moved = turn_boxes(moved, turned(placement.drawn, placement.view.turns), -placement.view.turns)
    moved /= (sx, sy, sx, sy)
    moved += (cx, cy, cx, cy)
    np.maximum(moved, (x1, y1, x1, y1), out=moved)
    np.minimum(moved, (x2, y2, x2, y2), out=moved)
    return np.asarray(moved, dtype=np.float32)


def to_input(boxes: NDArray[np.floating[Any]], placement: Placement) -> NDArray[np.float32]:
    """Map boxes from the source's picture to the model input: the inverse of `to_source`, without clipping.

    Args:
        boxes: float [n, 4], x1, y1, x2, y2 in source pixels.
        placement: how the picture is placed.

    Returns:
        float32 [n, 4] in input pixels; with center-crop what was cut away lies outside the input.
    """
    (cx, cy, *_), (tx, ty, *_) = placement.crop, placement.target
    sx, sy = placement.scale_x, placement.scale_y
    moved = np.subtract(boxes, (cx, cy, cx, cy), dtype=np.float64)
    moved *= (sx, sy, sx, sy)
    if placement.view.turns:
        moved = turn_boxes(moved, placement.drawn, placement.view.turns)
    moved += (tx, ty, tx, ty)
    return np.asarray(moved, dtype=np.float32)


def turn_boxes(boxes: NDArray[np.float64], size: Size, turns: int) -> NDArray[np.float64]:
    """Move boxes along with a picture that is turned.

    Args:
        boxes: float [n, 4], x1, y1, x2, y2.
        size: height, width of the picture before.
        turns: quarter turns clockwise; negative ones counterclockwise.

    Returns:
        float [n, 4], x1, y1, x2, y2 in the turned picture.
    """
    for _ in range(turns % 4):
        # Clockwise, a point's x is how far it was from the bottom edge, and its y how far it was from the left one.
        boxes = np.stack((size[0] - boxes[:, 3], boxes[:, 0], size[0] - boxes[:, 1], boxes[:, 2]), axis=1)
        size = turned(size, 1)
    return boxes


def dynamic_size(
    source: Sequence[int], min: Sequence[int], opt: Sequence[int], max: Sequence[int], multiple: int
) -> Size:
    """Choose the model input's size for a source, where the model takes sizes in a range.

    The source's aspect at about the area of ``opt``, grown or shrunk as a whole until it fits between ``min`` and
    ``max``; where no size of that aspect does, each side is held to its bounds on its own. Each side is then the
    nearest multiple (not the next: rounding up would turn 512.0000001 into 544).

    Args:
        source: height, width of the source's picture, pixels.
        min: smallest height, width, pixels.
        opt: the height, width that engines are tuned for, pixels.
        max: largest height, width, pixels.
        multiple: what height and width are multiples of, pixels.

    Returns:
        Height, width of the input; each at most ``multiple / 2`` from the ideal side.

    Raises:
        InternalError: a source without pixels.
        ModelError: no multiple lies between ``min`` and ``max``.
    """
    if source[0] < 1 or source[1] < 1:
        raise InternalError(f"no input size fits a picture of {source[1]}x{source[0]} pixels")
    low_h, high_h = _bounds(min[0], max[0], multiple)
    low_w, high_w = _bounds(min[1], max[1], multiple)
    h, w = source[0], source[1]
    factor = math.sqrt(opt[0] * opt[1] / (h * w))
    factor = _held(factor, low_h / h, high_h / h)
    factor = _held(factor, low_w / w, high_w / w)
    new_h = _held(factor * h, low_h, high_h)
    new_w = _held(factor * w, low_w, high_w)
    return round(new_h / multiple) * multiple, round(new_w / multiple) * multiple


def _bounds(low: int, high: int, multiple: int) -> Size:
    """First and last multiple between two bounds."""
    first, last = -(-low // multiple) * multiple, high // multiple * multiple
    if first > last:
        raise ModelError(
            f"no multiple of {multiple} lies between {low} and {high}",
            where="input.size",
            remedy="widen min and max or lower multiple",
        )
    return first, last


def _held(value: float, low: float, high: float) -> float:
    """The value, held between two bounds."""
    return min(max(value, low), high)
