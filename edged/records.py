# SPDX-License-Identifier: Apache-2.0
"""What flows from stage to stage besides pixels: plain values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


class View(NamedTuple):
    """How a source's picture is looked at: which part of it, and which way up.

    Attributes:
        turns: quarter turns clockwise that set the part upright, 0 to 3.
        region: the part, x1, y1, x2, y2 in source pixels; None for the whole picture.
    """

    turns: int = 0
    region: tuple[int, int, int, int] | None = None


WHOLE = View()
"""The whole picture, as it is."""


@dataclass(frozen=True, slots=True)
class FrameRecord:
    """What is known of one captured frame.

    Attributes:
        source: index of the source in the configuration.
        frame_id: the source's own count from 0.
        captured_ns: CLOCK_MONOTONIC at arrival, nanoseconds.
        captured_at_ns: Unix time at arrival, nanoseconds.
        width: width of the source's picture in pixels.
        height: height of the source's picture in pixels.
        input_width: width of the model input the picture was fitted into, pixels.
        input_height: height of the model input the picture was fitted into, pixels.
        file: name of the image for folder sources, else empty.
        view: what of the picture the model was shown.
        damaged: whether parts of the picture were lost before it was decoded, see `Picture` of the readers.
    """

    source: int
    frame_id: int
    captured_ns: int
    captured_at_ns: int
    width: int
    height: int
    input_width: int
    input_height: int
    file: str = ""
    view: View = WHOLE
    damaged: bool = False


class TensorSpec(NamedTuple):
    """One output tensor of the prepared graph, without its batch dimension.

    Attributes:
        name: tensor name in the prepared graph.
        dtype: numpy dtype name, for example ``float32``.
        shape: largest shape of one frame's part; a batch is ``(n, *shape)``.
        fixed: whether every frame has exactly this shape (else it is an upper bound).
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    fixed: bool = True


class Ready(NamedTuple):
    """A frame that waits in its ring for the device.

    Attributes:
        slot: where in the ring it lies.
        frame_id: the source's own count.
        captured_ns: CLOCK_MONOTONIC at arrival.
        ready_ns: CLOCK_MONOTONIC when it was handed over.
        input_height: pixels.
        input_width: pixels.
    """

    slot: int
    frame_id: int
    captured_ns: int
    ready_ns: int
    input_height: int
    input_width: int

    @property
    def shape(self) -> tuple[int, int]:
        """Height, width: only frames of one shape can share a batch."""
        return self.input_height, self.input_width
