# SPDX-License-Identifier: Apache-2.0
"""What the report makes of turns, and where throughput saturates."""

from __future__ import annotations

from edged.bench.figures import measurement, saturation
from edged.rig.rounds import Turn


def test_saturation_is_the_smallest_batch_with_95_percent() -> None:
    found = saturation("pipeline", {1: 400.0, 4: 949.0, 8: 951.0, 16: 1000.0, 32: 990.0})
    assert found is not None
    assert (found.batch, found.frames_per_s, found.best_batch, found.best_frames_per_s) == (8, 951.0, 16, 1000.0)
    assert saturation("engine", {4: 100.0}) is None


def test_a_measurement_pools_batches_and_keeps_rounds_apart() -> None:
    turns = [Turn(10, 2.0, [1.0, 2.0], {"copy": [0.1]}), Turn(10, 1.0, [3.0], {"copy": [0.3, 0.5]})]
    found = measurement("pipeline", 4, 2, None, turns)
    assert found.frames_per_s.rounds == (20.0, 40.0)
    assert found.frames_per_s.median == 30.0
    assert (found.latency_ms.count, found.latency_ms.max, found.batches) == (3, 3.0, 20)
    assert found.stages_ms == {"copy": 0.3}
