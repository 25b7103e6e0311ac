# SPDX-License-Identifier: Apache-2.0
"""What of a source's picture the model gets to see: a part of it, turned upright, with regions blacked out.

All of it is given in fractions of the picture as the source delivers it, so that it holds whatever resolution a camera
is set to, and means the same whichever of the three are used together.
"""

from __future__ import annotations

from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.geometry import Placement, to_input
from edged.records import WHOLE, View


class ViewPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How a source is looked at; JSON carries it to the capture process.

    Attributes:
        rotate: degrees clockwise that set the picture upright.
        crop: the part that is looked at, x1, y1, x2, y2 in fractions of the picture; None for all of it.
        mask: regions to black out, each a rectangle (x1, y1, x2, y2) or a polygon (x, y of each corner), in fractions
            of the picture.
    """

    rotate: Literal[0, 90, 180, 270] = 0
    crop: tuple[float, float, float, float] | None = None
    mask: tuple[tuple[float, ...], ...] = ()

    def view(self, height: int, width: int) -> View:
        """How a picture of this size is looked at: the crop to the nearest whole pixels, one each way at least."""
        if self.crop is None and not self.rotate:
            return WHOLE
        region = None
        if self.crop is not None:
            x1, x2 = _span(self.crop[0], self.crop[2], width)
            y1, y2 = _span(self.crop[1], self.crop[3], height)
            region = (x1, y1, x2, y2)
        return View(self.rotate // 90, region)

    def corners(self, placement: Placement) -> list[NDArray[np.float64]]:
        """Corners of the masked regions on the model input, float [n, 2], x, y in input pixels."""
        height, width = placement.source
        found = []
        for flat in self.mask:
            points = _rectangle(flat) if len(flat) == 4 else flat
            at = np.array(points, np.float64).reshape(-1, 2) * (width, height)
            # A point is a box without area.
            found.append(to_input(np.hstack((at, at)), placement)[:, :2].astype(np.float64))
        return found


def _span(low: float, high: float, pixels: int) -> tuple[int, int]:
    first = min(round(low * pixels), pixels - 1)
    return first, max(first + 1, round(high * pixels))


def _rectangle(flat: tuple[float, ...]) -> tuple[float, ...]:
    x1, y1, x2, y2 = flat
    return x1, y1, x2, y1, x2, y2, x1, y2
