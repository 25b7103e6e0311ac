# SPDX-License-Identifier: Apache-2.0
"""What postprocess needs to know of the model: plain values that travel to the publish process as JSON."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from edged.geometry import Align, Resize


class PostprocessPlan(msgspec.Struct, kw_only=True, frozen=True):
    """How the prepared graph's outputs become predictions.

    Attributes:
        task: which of the outputs to expect.
        labels: class names by number; a class beyond them goes by its number.
        score_threshold: what scores less is not published (detection, classification).
        iou_threshold: boxes of one class that overlap more are one object.
        max_detections: most boxes published of one frame.
        resize: how pictures are fitted into the model input.
        align: where a letterboxed picture lies.
        nms: whether NMS is still to be done; end-to-end models have done it.
    """

    task: Literal["classification", "detection", "segmentation", "raw"]
    labels: tuple[str, ...] = ()
    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.3
    iou_threshold: Annotated[float, Meta(gt=0, le=1)] = 0.5
    max_detections: Annotated[int, Meta(ge=1)] = 100
    resize: Resize = "letterbox"
    align: Align = "center"
    nms: bool = True
