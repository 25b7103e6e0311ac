# SPDX-License-Identifier: Apache-2.0
"""Right: the demo model on scenes that it was not trained on, measured through the published messages."""

from __future__ import annotations

from support.fixtures import StartDaemon
from support.scenes import found, truth, watch_to_the_end

from edged.stages.capture.shapes import ShapesScene
from tools.evaluate_shapes import HELD_OUT_SEEDS
from tools.shapes_map import map50

SEEDS = HELD_OUT_SEEDS[300:302]
FRAMES = 75


def test_the_demo_model_finds_the_shapes_of_held_out_scenes(daemons: StartDaemon) -> None:
    sources = [{"name": f"scene-{seed}", "uri": f"synthetic://shapes?seed={seed}&frames={FRAMES}"} for seed in SEEDS]
    watch = watch_to_the_end(daemons, sources)
    truths, findings = [], []
    for seed in SEEDS:
        scene, messages = ShapesScene(seed), watch.predictions[f"scene-{seed}"]
        assert [message.frame_id for message in messages] == list(range(FRAMES))
        truths += [truth(scene, message.frame_id) for message in messages]
        findings += [found(message) for message in messages]
    assert map50(truths, findings) >= 0.95
