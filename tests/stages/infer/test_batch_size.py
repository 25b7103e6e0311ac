# SPDX-License-Identifier: Apache-2.0
"""Which batch size is chosen, with a clock that the batches themselves move."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from edged.stages.infer.batch_size import best_batch


class Device:
    """Takes a given time for each batch size; the first run of each takes three times as long."""

    def __init__(self, seconds: Mapping[int, float]) -> None:
        self.seconds = seconds
        self.now = 100.0
        self.runs: list[int] = []

    def run(self, count: int) -> None:
        self.now += self.seconds[count] * (1 if count in self.runs else 3)
        self.runs.append(count)

    def clock(self) -> float:
        return self.now


@pytest.mark.parametrize(
    ("seconds", "limit", "best"),
    [
        ({1: 0.010, 2: 0.020, 4: 0.040, 8: 0.080}, 8, 1),  # batches gain nothing: a small CPU
        ({1: 0.010, 2: 0.0191, 4: 0.030, 8: 0.050}, 8, 1),  # 4.7 % is not worth the wait
        ({1: 0.010, 2: 0.019, 4: 0.036, 8: 0.072}, 8, 4),  # 5 % each is, and then no more
        ({1: 0.010, 2: 0.011, 4: 0.012, 8: 0.013}, 8, 8),  # a device that is hardly busy
        ({1: 0.010, 2: 0.011, 4: 0.012}, 4, 4),
        ({1: 0.010, 2: 0.011}, 3, 2),
        ({1: 0.010}, 1, 1),
        ({1: 0.0}, 1, 1),
    ],
)
def test_a_larger_batch_must_be_worth_it(seconds: dict[int, float], limit: int, best: int) -> None:
    device = Device(seconds)
    assert best_batch(device.run, limit, device.clock) == best


def test_the_first_run_of_a_size_does_not_count() -> None:
    device = Device({1: 0.010, 2: 0.012, 4: 0.090, 8: 1.0})
    assert best_batch(device.run, 8, device.clock) == 2
    assert device.runs == [1] * 4 + [2] * 4 + [4] * 4


def test_the_search_ends_when_its_time_is_up() -> None:
    device = Device({1: 0.2, 2: 0.2, 4: 0.2, 8: 0.2})
    assert best_batch(device.run, 8, device.clock) == 1
    assert set(device.runs) == {1}
