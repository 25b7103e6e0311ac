# SPDX-License-Identifier: Apache-2.0
"""Frames as postprocess is told of them."""

from __future__ import annotations

from edged.geometry import Size
from edged.records import FrameRecord


def frame(source: Size = (1080, 1920), size: Size = (640, 640)) -> FrameRecord:
    return FrameRecord(0, 0, 0, 0, width=source[1], height=source[0], input_width=size[1], input_height=size[0])
