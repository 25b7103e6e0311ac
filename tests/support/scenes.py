# SPDX-License-Identifier: Apache-2.0
"""Published detections against the ground truth of synthetic scenes."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import UNSET

from edged.messages import Prediction
from edged.stages.capture.shapes import ShapesScene
from tools.shapes_map import Prediction as Found
from tools.shapes_map import Truth, map50


def found(message: Prediction) -> list[Found]:
    """A message's detections as the evaluation takes them."""
    assert message.detections is not UNSET
    return [(each.class_id, each.score, each.box) for each in message.detections]


def truth(scene: ShapesScene, index: int) -> list[Truth]:
    """The shapes of one frame."""
    return [(shape.class_id, shape.box) for shape in scene.truth(index)]


def accuracy(messages: Sequence[Prediction], scene: ShapesScene) -> float:
    """mAP50 of messages against a scene whose frame n has the id n: low also where pictures and ids do not match."""
    return map50([truth(scene, message.frame_id) for message in messages], [found(message) for message in messages])
