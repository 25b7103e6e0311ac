# SPDX-License-Identifier: Apache-2.0
"""Pictures inside the page: scaled until all of them together fit."""

from __future__ import annotations

import base64
import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edged.engine.report.data import WorstFrame
from edged.engine.report.markup import Html, element, safe

BUDGET = 3 << 20
"""Bytes of all pictures; base64 makes a third more of them."""
SHOWN = 12
"""Frames, at the most."""
_WIDEST = 640
_SMALLEST = 48
"""Pixels: a picture that has to be made smaller than this shows nothing."""

_Pixels = NDArray[np.uint8]


def worst_frames(frames: Sequence[WorstFrame], precision: str) -> Html:
    """Pairs of pictures side by side, with what differs; nothing without frames.

    Args:
        frames: worst first.
        precision: of the engine that was held against FP32.
    """
    shown = frames[:SHOWN]
    each = BUDGET // max(2 * len(shown), 1)
    return Html("".join(_pair(frame, precision, each) for frame in shown))


def _pair(frame: WorstFrame, precision: str, most: int) -> Html:
    cells = [_cell(frame.reference, "FP32", frame.name, most), _cell(frame.value, precision, frame.name, most)]
    caption = element("figcaption", element("b", frame.name), element("span", frame.difference))
    return element("figure", element("div", *cells, class_="pair"), caption)


def _cell(png: bytes | None, who: str, name: str, most: int) -> Html:
    scaled = None if png is None else fitted(png, most)
    if scaled is None:
        return element("div", element("span", who), element("p", "no picture", class_="faint"))
    data = base64.b64encode(scaled).decode()
    # Not as an attribute of `element`, which shortens texts: base64 has nothing to escape.
    alt = safe(f"{name} as {who} sees it")
    return element("div", element("span", who), Html(f'<img src="data:image/png;base64,{data}" alt="{alt}">'))


def fitted(png: bytes, most: int) -> bytes | None:
    """A picture as PNG of at most so many bytes and `_WIDEST` pixels a side; None where it cannot be read or made to
    fit."""
    pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR) if png else None
    if pixels is None:
        return None
    whole = np.asarray(pixels, np.uint8)
    factor = min(1.0, _WIDEST / max(whole.shape[:2]))
    while factor * max(whole.shape[:2]) >= min(_SMALLEST, max(whole.shape[:2])):
        found = _encoded(_scaled(whole, factor))
        if len(found) <= most:
            return found
        factor *= min(0.9, math.sqrt(most / len(found)))
    return None


def _scaled(pixels: _Pixels, factor: float) -> _Pixels:
    if factor >= 1.0:
        return pixels
    height, width = (max(1, round(factor * side)) for side in pixels.shape[:2])
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _encoded(pixels: _Pixels) -> bytes:
    _, found = cv2.imencode(".png", pixels, [cv2.IMWRITE_PNG_COMPRESSION, 6])
    return found.tobytes()
