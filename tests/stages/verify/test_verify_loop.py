# SPDX-License-Identifier: Apache-2.0
"""The verify loop over real samples: each is looked at once, given back, and none that killed it is tried again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from numpy.typing import NDArray

from edged import agreement
from edged.agreement import Agreement
from edged.records import FrameRecord, TensorSpec
from edged.shm.board import VERIFY_STAGES, Board
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.shm.wake import Wake
from edged.stages.publish.hand_over import HandOver
from edged.stages.verify.loop import Checked, Feed, Outputs, VerifyLoop

TENSORS = (TensorSpec("y", "float32", (3,)),)


def reference(frames: NDArray[np.uint8]) -> Outputs:
    """The mean of each channel."""
    return {"y": frames.mean(axis=(1, 2), dtype=np.float32)}


def compare(ours: Outputs, wanted: Outputs, _frame: FrameRecord) -> Agreement:
    return agreement.tensors(ours, wanted)


class Bench:
    def __init__(self) -> None:
        self.board = Board.create(1)
        self.wake = Wake()
        self.samples = [Sample.create(24, TENSORS) for _ in range(2)]
        self.checked: list[Checked] = []

    def set_aside(self, source: int, frame_id: int, *, error: float = 0.0, published: bool = True) -> None:
        """What capture and publish do with one frame."""
        sample = self.samples[source]
        pixels = np.full((2, 4, 3), 10 * (frame_id + 1), np.uint8)
        assert sample.claim()
        SampleArrays(sample).frame(2, 4)[0] = pixels
        sample.describe(FrameRecord(source, 0, 1, 2, 8, 4, 4, 2))
        sample.seal(frame_id)
        outputs = {name: batch * (1 + error) for name, batch in reference(pixels[None]).items()}
        HandOver(sample, TENSORS, self.wake).settled(frame_id, outputs, 0, published=published)

    def loop(self) -> VerifyLoop:
        feeds = [Feed(sample, SampleArrays(sample, TENSORS)) for sample in self.samples]
        return VerifyLoop(feeds, reference, compare, self.checked.append, self.board.row(0))

    def run(self, loop: VerifyLoop, waits: int = 1) -> None:
        left = waits

        def wait() -> bool:
            nonlocal left
            left -= 1
            return self.wake.wait(0.0)

        loop.run(lambda: left <= 0, wait)

    def close(self) -> None:
        self.board.close()
        self.wake.close()
        for sample in self.samples:
            sample.close()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.close()


def test_every_sample_is_looked_at_once_and_given_back(bench: Bench) -> None:
    bench.set_aside(1, 7, error=0.1)
    bench.set_aside(0, 3)
    loop = bench.loop()
    bench.run(loop, 3)
    assert [(found.source, found.frame_id) for found in bench.checked] == [(0, 3), (1, 7)]
    assert [found.agreement.points for found in bench.checked] == pytest.approx([100.0, 90.0], abs=1e-4)
    bench.set_aside(0, 4)
    bench.run(loop, 2)
    assert [found.frame_id for found in bench.checked[2:]] == [4]
    assert bench.board.row(0).times(VERIFY_STAGES)["reference"].runs == 3
    assert not any(sample.skipped or sample.unpublished for sample in bench.samples)


def test_what_was_not_published_is_not_looked_at(bench: Bench) -> None:
    bench.set_aside(0, 3, published=False)
    bench.run(bench.loop(), 2)
    assert bench.checked == []
    assert bench.samples[0].unpublished == 1
    bench.set_aside(0, 4)
    bench.run(bench.loop())
    assert [found.frame_id for found in bench.checked] == [4]


def test_the_next_process_leaves_out_what_the_last_one_died_of(bench: Bench) -> None:
    bench.set_aside(0, 3)
    bench.set_aside(1, 4)
    bench.samples[0].begin()
    bench.run(bench.loop())
    assert [(found.source, found.frame_id) for found in bench.checked] == [(1, 4)]
    bench.set_aside(0, 5)
