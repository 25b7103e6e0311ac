# SPDX-License-Identifier: Apache-2.0
"""Fits pictures into slots of the frame ring: the only time the CPU touches decoded pixels.

The process that captures should call ``cv2.setNumThreads(1)`` first: one picture is resized at a time, and with a
process for each source more threads would only fight over the cores.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.geometry import Align, Placement, Resize, dynamic_size, place, turned, viewed
from edged.records import View
from edged.stages.capture.crop import ViewPlan

if TYPE_CHECKING:
    from edged.model import InputSpec

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}
_TURNS = {1: cv2.ROTATE_90_CLOCKWISE, 2: cv2.ROTATE_180, 3: cv2.ROTATE_90_COUNTERCLOCKWISE}
_BLACK = (0, 0, 0)
_SHIFT = 4
"""Binary places of the corners that OpenCV draws by."""


class SizeRange(msgspec.Struct, frozen=True, kw_only=True):
    """An input size that follows the source's aspect; each is height, width in pixels."""

    min: tuple[int, int]
    opt: tuple[int, int]
    max: tuple[int, int]
    multiple: int = 1


class FitPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a model wants its pictures like; JSON carries it to the capture process.

    Attributes:
        size: height, width in pixels, or a range of them.
        resize: how a picture of another aspect is placed.
        align: where a letterboxed picture lies.
        pad: grey level of what is outside, 0 to 255.
        interpolation: of the resize.
    """

    size: tuple[int, int] | SizeRange
    resize: Resize = "letterbox"
    align: Align = "center"
    pad: int = 114
    interpolation: Literal["linear", "cubic", "area"] = "linear"

    @classmethod
    def from_input(cls, spec: InputSpec) -> FitPlan:
        """The plan for a model spec's input."""
        wanted = spec.size
        size: tuple[int, int] | SizeRange
        if isinstance(wanted, list):
            size = (wanted[0], wanted[1])
        else:
            size = SizeRange(
                min=(wanted.min[0], wanted.min[1]),
                opt=(wanted.opt[0], wanted.opt[1]),
                max=(wanted.max[0], wanted.max[1]),
                multiple=wanted.multiple,
            )
        return cls(size=size, resize=spec.resize, align=spec.align, pad=spec.pad, interpolation=spec.interpolation)


class Fitter:
    """Writes pictures into slots, by one plan.

    Args:
        plan: how.
        look: which part of the pictures, which way up, and what to black out.
    """

    def __init__(self, plan: FitPlan, look: ViewPlan | None = None) -> None:
        self._plan = plan
        self._look = look or ViewPlan()
        self._interpolation = _INTERPOLATION[plan.interpolation]
        self._placement: Placement | None = None
        self._regions: list[NDArray[np.int32]] = []
        self._reach = 1
        self._scratch: NDArray[np.uint8] | None = None

    def view(self, height: int, width: int) -> View:
        """How a source's picture of this size is looked at."""
        return self._look.view(height, width)

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the model input for a source.

        Args:
            height: of the source's picture, pixels.
            width: of the source's picture, pixels.

        Returns:
            Height, width in pixels.
        """
        size = self._plan.size
        if not isinstance(size, SizeRange):
            return size
        view = self.view(height, width)
        x1, y1, x2, y2 = viewed((height, width), view)
        part = turned((y2 - y1, x2 - x1), view.turns)
        return dynamic_size(part, size.min, size.opt, size.max, size.multiple)

    def placement(self, height: int, width: int) -> Placement:
        """Where a source's picture of this size lies on its model input."""
        return self._place((height, width), self.input_size(height, width))

    def fit(self, image: NDArray[np.uint8], out: NDArray[np.uint8], source_size: tuple[int, int] | None = None) -> None:
        """Write a picture into a slot, padding included: nothing of what was there before is left.

        Args:
            image: uint8 height×width×3: the source's picture, or what a device has cut out of it and scaled already.
            out: uint8 height×width×3 at the size that `input_size` gave, rows without gaps; usually shared memory.
            source_size: height, width of the source's picture where ``image`` is the `placement`'s crop of it.

        Raises:
            InternalError: OpenCV did not write into ``out``.
        """
        height, width = source_size or image.shape[:2]
        placement = self._place((height, width), (out.shape[0], out.shape[1]))
        x0, y0, x1, y1 = placement.target
        target = out[y0:y1, x0:x1]
        if source_size is None and placement.crop != (0, 0, width, height):
            left, top, right, bottom = placement.crop
            image = image[top:bottom, left:right]
        if placement.view.turns:
            self._draw_turned(image, target, placement)
        else:
            self._draw(image, target)
        if self._regions:
            cv2.fillPoly(target, self._regions, _BLACK, shift=_SHIFT)
            cv2.polylines(target, self._regions, True, _BLACK, thickness=2 * self._reach + 1, shift=_SHIFT)
        self._fill_borders(out, placement)

    def _draw(self, image: NDArray[np.uint8], target: NDArray[np.uint8]) -> None:
        if image.shape == target.shape:
            np.copyto(target, image)
            return
        # OpenCV takes a region with gaps between its rows as it is, if size and type are what the result has; else it
        # allocates and the slot would silently keep its old frame.
        size = (target.shape[1], target.shape[0])
        made = cv2.resize(image, size, dst=target, interpolation=self._interpolation)
        if made is not target:
            raise InternalError(f"a picture of {image.shape} was not resized in place into {target.shape}")

    def _draw_turned(self, image: NDArray[np.uint8], target: NDArray[np.uint8], placement: Placement) -> None:
        """Scale, then turn: what is turned is as small as the model input, and lies in the cache."""
        height, width = placement.drawn
        if image.shape[:2] != (height, width):
            if self._scratch is None or self._scratch.shape != (height, width, 3):
                self._scratch = np.empty((height, width, 3), np.uint8)
            self._draw(image, self._scratch)
            image = self._scratch
        if cv2.rotate(image, _TURNS[placement.view.turns], dst=target) is not target:
            raise InternalError(f"a picture of {image.shape} was not turned in place into {target.shape}")

    def _place(self, source: tuple[int, int], target: tuple[int, int]) -> Placement:
        """The placement, kept from the frame before as long as sizes stay."""
        known = self._placement
        if known is None or known.source != source or known.input != target:
            known = place(self._plan.resize, self._plan.align, source, target, self.view(*source))
            self._placement = known
            self._regions = [_raster(corners, known) for corners in self._look.corners(known)]
            # How far a resize carries a pixel, so that nothing of what is masked shows beside the mask.
            widest = max(known.scale_x, known.scale_y, 1.0)
            self._reach = math.ceil(widest * (2 if self._plan.interpolation == "cubic" else 1))
        return known

    def _fill_borders(self, out: NDArray[np.uint8], placement: Placement) -> None:
        """Fill what the picture does not cover. About 10 µs, so there is no need to remember which slot has it."""
        x0, y0, x1, y1 = placement.target
        pad = self._plan.pad
        out[:y0] = pad
        out[y1:] = pad
        out[y0:y1, :x0] = pad
        out[y0:y1, x1:] = pad


def _raster(corners: NDArray[np.float64], placement: Placement) -> NDArray[np.int32]:
    """Corners on the input as OpenCV's drawing takes them: from the target's corner, centre of the first pixel at 0."""
    at = corners - placement.target[:2] - 0.5
    bound = 1 << 30
    return np.clip(np.rint(at * (1 << _SHIFT)), -bound, bound).astype(np.int32)
