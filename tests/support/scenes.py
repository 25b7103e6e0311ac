# SPDX-License-Identifier: Apache-2.0
"""Detections that the demo model publishes against the ground truth of synthetic scenes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET

from edged.messages import Prediction
from edged.stages.capture.shapes import ShapesScene
from support.fixtures import StartDaemon
from support.watch import Watch
from tools.shapes_map import Prediction as Found
from tools.shapes_map import Truth, map50


def watch_to_the_end(daemons: StartDaemon, sources: Sequence[Mapping[str, object]]) -> Watch:
    """Have the demo model look at lossless sources until they end; what it published."""
    daemon = daemons(
        {
            "sources": [{"mode": "lossless", **source} for source in sources],
            "engine": {"max_batch": 4},
            "publish": {"wait_for_subscribers": 1},
        },
        ["--exit-when-done"],
    ).start()
    with Watch(daemon) as watch:
        watch.until(lambda: watch.stopping, 60)
    assert daemon.wait(5) == 0
    return watch


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
