# SPDX-License-Identifier: Apache-2.0
"""Pictures of what FP32 and a candidate see in a frame, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.evaluate.findings import Segmented
from edged.engine.evaluate.result import FrameResult
from edged.engine.evaluate.segmentation import at_source
from edged.errors import InternalError

Pixels = NDArray[np.uint8]

PANEL = 480
"""Longest side of one of the two pictures, pixels."""

_GAP = 8
_BAR = 22
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_MASK_PART = 0.55


def side_by_side(
    image: Pixels,
    reference: FrameResult,
    value: FrameResult,
    names: Sequence[str],
    titles: tuple[str, str] = ("FP32", "INT8"),
    longest: int = PANEL,
) -> bytes:
    """Draw a frame twice, with what each of the two sees.

    Args:
        image: the source's picture, uint8 [h, w, 3], blue-green-red; not changed.
        reference: goes to the left.
        value: goes to the right.
        names: of the classes; beyond them numbers.
        titles: of the two.
        longest: side of one picture, pixels.

    Returns:
        A PNG file.

    Raises:
        InternalError: OpenCV cannot encode it.
    """
    panels = [
        _panel(image, result, names, title, longest) for result, title in zip((reference, value), titles, strict=True)
    ]
    gap = np.full((panels[0].shape[0], _GAP, 3), 255, np.uint8)
    return _encoded(np.hstack([panels[0], gap, panels[1]]))


def drawn(image: Pixels, result: FrameResult, names: Sequence[str], longest: int = PANEL) -> bytes:
    """Draw a frame with what was seen in it; a PNG file.

    Raises:
        InternalError: OpenCV cannot encode it.
    """
    return _encoded(_panel(image, result, names, "", longest)[_BAR:])


def _encoded(pixels: Pixels) -> bytes:
    done, png = cv2.imencode(".png", pixels)
    if not done:
        raise InternalError("a picture cannot be encoded as PNG", where="evaluation")
    return png.tobytes()


def _panel(image: Pixels, result: FrameResult, names: Sequence[str], title: str, longest: int) -> Pixels:
    factor = min(1.0, longest / max(image.shape[:2]))
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    picture = np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
    if result.mask is not None and result.mask_box is not None:
        box = np.array(result.mask_box) * factor
        picture = _tinted(picture, Segmented(result.mask, (box[0], box[1], box[2], box[3])))
    # The weakest first, so that the best are on top.
    for one in reversed(result.boxes):
        corners = [round(side * factor) for side in one.box]
        _box(picture, corners, f"{_name(names, one.class_id)} {one.score:.2f}", colour(one.class_id))
    for row, (number, score) in enumerate(result.classes):
        _text(picture, f"{_name(names, number)} {score:.3f}", (4, 16 + 18 * row), colour(number))
    bar = np.full((_BAR, width, 3), 255, np.uint8)
    cv2.putText(bar, title, (4, 16), _FONT, 0.5, _BLACK, 1, cv2.LINE_AA)
    return np.vstack([bar, picture])


def _box(picture: Pixels, corners: Sequence[int], text: str, shade: tuple[int, int, int]) -> None:
    x1, y1, x2, y2 = corners
    cv2.rectangle(picture, (x1, y1), (x2, y2), shade, 2)
    _text(picture, text, (x1, max(y1 - 4, 12)), shade)


def _text(picture: Pixels, text: str, place: tuple[int, int], shade: tuple[int, int, int]) -> None:
    # cv2's fonts know ASCII only.
    plain = text.encode("ascii", "replace").decode()
    (width, height), low = cv2.getTextSize(plain, _FONT, 0.45, 1)
    x, y = place
    cv2.rectangle(picture, (x, y - height - 3), (x + width + 2, y + low), shade, cv2.FILLED)
    dark = sum(shade) < 384
    cv2.putText(picture, plain, (x + 1, y), _FONT, 0.45, _WHITE if dark else _BLACK, 1, cv2.LINE_AA)


def _tinted(picture: Pixels, mask: Segmented) -> Pixels:
    """A picture in the colours of a mask's classes; class 0 is left as it is."""
    labels, seen = at_source(mask.cells(), mask.box, picture.shape)
    shades = np.array([colour(number) for number in range(256)], np.uint8)[labels]
    mixed = cv2.addWeighted(picture, 1 - _MASK_PART, shades, _MASK_PART, 0.0)
    return np.where(((labels > 0) & seen)[..., np.newaxis], mixed, picture).astype(np.uint8)


def colour(number: int) -> tuple[int, int, int]:
    """A class's colour, blue-green-red: neighbours far apart on the wheel."""
    hue = number * 67 % 180
    pixel = cv2.cvtColor(np.array([[[hue, 220, 235]]], np.uint8), cv2.COLOR_HSV2BGR)[0, 0]
    return int(pixel[0]), int(pixel[1]), int(pixel[2])


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number)
