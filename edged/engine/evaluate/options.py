# SPDX-License-Identifier: Apache-2.0
"""How a model is evaluated."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta


class EvaluationOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is evaluated.

    Attributes:
        score_threshold: detections that score less do not count against labels: far lower than in use, as average
            precision looks at all of them.
        iou_threshold: of the suppression of overlapping boxes; None for the model spec's. Published results on COCO
            mostly have 0.65.
        max_detections: most boxes of a frame, where the model spec does not ask for more.
        batch: frames of a batch, where the model takes any number.
        draws: resamples of the bootstrap.
        seed: of the bootstrap.
        worst: how many of the worst frames are kept.
    """

    score_threshold: Annotated[float, Meta(ge=0, le=1)] = 0.001
    iou_threshold: Annotated[float, Meta(gt=0, le=1)] | None = None
    max_detections: Annotated[int, Meta(ge=1)] = 300
    batch: Annotated[int, Meta(ge=1)] = 1
    draws: Annotated[int, Meta(ge=2)] = 100
    seed: int = 0
    worst: Annotated[int, Meta(ge=0)] = 8
