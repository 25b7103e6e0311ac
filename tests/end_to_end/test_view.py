# SPDX-License-Identifier: Apache-2.0
"""Sources that are turned, cropped and masked: what is found lies where the source's own picture shows it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from support.fixtures import StartDaemon
from support.scenes import found, truth, watch_to_the_end

from edged.stages.capture.shapes import ShapesScene
from tools.evaluate_shapes import HELD_OUT_SEEDS
from tools.shapes_map import iou

SEED = HELD_OUT_SEEDS[310]
FRAMES = 12
LOOKS: dict[str, dict[str, object]] = {
    "upside-down": {"rotate": 180},
    "lying": {"rotate": 90, "crop": [0.25, 0.0, 1.0, 1.0]},
    "hidden": {"mask": [[0.0, 0.0, 0.5, 1.0]]},
}
SEEN = {"upside-down": (0, 0, 640, 480), "lying": (160, 0, 640, 480), "hidden": (320, 0, 640, 480)}


def test_boxes_lie_in_the_source_s_picture_however_it_is_looked_at(daemons: StartDaemon) -> None:
    uri = f"synthetic://shapes?seed={SEED}&frames={FRAMES}"
    watch = watch_to_the_end(daemons, [{"name": name, "uri": uri, **keys} for name, keys in LOOKS.items()])
    scene = ShapesScene(SEED)
    for name, (x1, y1, x2, y2) in SEEN.items():
        hits: list[float] = []
        messages = watch.predictions[name]
        assert [message.frame_id for message in messages] == list(range(FRAMES))
        for message in messages:
            assert (message.frame.width, message.frame.height) == (640, 480)
            boxes = _boxes([box for _, score, box in found(message) if score > 0.5])
            slack = 60 if name == "hidden" else 0  # the box of a shape that a mask cuts is a guess
            assert (boxes >= (x1 - slack, y1, x1 - slack, y1)).all()
            assert (boxes <= (x2, y2, x2, y2)).all()
            # Triangles look up, and some are cut: what is found has to be there, not all that is there to be found.
            shown = np.clip(
                _boxes([box for _, box in truth(scene, message.frame_id)]), (x1, y1, x1, y1), (x2, y2, x2, y2)
            )
            hits += iou(boxes, shown).max(axis=1, initial=0.0).tolist()
        assert len(hits) >= FRAMES
        assert np.mean(np.array(hits) > 0.5) > 0.9, name


def _boxes(boxes: object) -> NDArray[np.float64]:
    return np.array(boxes, np.float64).reshape(-1, 4)
