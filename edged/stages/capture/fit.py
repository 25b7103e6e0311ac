# SPDX-License-Identifier: Apache-2.0
"""Fits pictures into slots of the frame ring: the only time the CPU touches decoded pixels.

The process that captures should call ``cv2.setNumThreads(1)`` first: one picture is resized at a time, and with a
process for each source more threads would only fight over the cores.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from edged.errors import InternalError
from edged.geometry import Align, Placement, Resize, dynamic_size, place

if TYPE_CHECKING:
    from edged.model import InputSpec

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "area": cv2.INTER_AREA}


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
    """

    def __init__(self, plan: FitPlan) -> None:
        self._plan = plan
        self._interpolation = _INTERPOLATION[plan.interpolation]
        self._placement: Placement | None = None

    def input_size(self, height: int, width: int) -> tuple[int, int]:
        """Size of the model input for a source.

        Args:
            height: of the source's picture, pixels.
            width: of the source's picture, pixels.

        Returns:
            Height, width in pixels.
        """
        size = self._plan.size
        if isinstance(size, SizeRange):
            return dynamic_size((height, width), size.min, size.opt, size.max, size.multiple)
        return size

    def fit(self, image: NDArray[np.uint8], out: NDArray[np.uint8]) -> None:
        """Write a picture into a slot, padding included: nothing of what was there before is left.

        Args:
            image: uint8 height×width×3.
            out: uint8 height×width×3 at the size that `input_size` gave, rows without gaps; usually shared memory.

        Raises:
            InternalError: OpenCV did not write into ``out``.
        """
        height, width = image.shape[:2]
        placement = self._place((height, width), (out.shape[0], out.shape[1]))
        x0, y0, x1, y1 = placement.target
        target = out[y0:y1, x0:x1]
        if placement.crop != (0, 0, width, height):
            left, top, right, bottom = placement.crop
            image = image[top:bottom, left:right]
        if image.shape == target.shape:
            np.copyto(target, image)
        else:
            # OpenCV takes a region with gaps between its rows as it is, if size and type are what the result has; else
            # it allocates and the slot would silently keep its old frame.
            made = cv2.resize(image, (x1 - x0, y1 - y0), dst=target, interpolation=self._interpolation)
            if made is not target:
                raise InternalError(f"a picture of {image.shape} was not resized in place into {target.shape}")
        self._fill_borders(out, placement)

    def _place(self, source: tuple[int, int], target: tuple[int, int]) -> Placement:
        """The placement, kept from the frame before as long as sizes stay."""
        known = self._placement
        if known is None or known.source != source or known.input != target:
            known = self._placement = place(self._plan.resize, self._plan.align, source, target)
        return known

    def _fill_borders(self, out: NDArray[np.uint8], placement: Placement) -> None:
        """Fill what the picture does not cover. About 10 µs, so there is no need to remember which slot has it."""
        x0, y0, x1, y1 = placement.target
        pad = self._plan.pad
        out[:y0] = pad
        out[y1:] = pad
        out[y0:y1, :x0] = pad
        out[y0:y1, x1:] = pad
