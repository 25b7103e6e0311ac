# SPDX-License-Identifier: Apache-2.0
"""A sample has one owner at a time, whoever dies, and pixels and outputs in it are always those of one frame."""

from __future__ import annotations

import os

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from edged.records import FrameRecord, TensorSpec, View
from edged.shm.region import Region
from edged.shm.sample import Sample
from edged.shm.sample_arrays import SampleArrays
from edged.stages.capture.sampling import Sampler

TENSORS = (TensorSpec("boxes", "float32", (5, 6), fixed=False), TensorSpec("labels", "uint8", (3,)))


def frame(number: int = 0, width: int = 4, height: int = 2) -> FrameRecord:
    return FrameRecord(0, number, 10, 20, 640, 480, width, height, view=View(3, (1, 2, 600, 470)))


def shared(sample: Sample) -> Sample:
    """The same sample, as another process has it."""
    return Sample(Region(os.dup(sample.region.fd)))


def test_pixels_record_and_outputs_come_out_as_they_went_in() -> None:
    made = Sample.create(4 * 6 * 3, TENSORS)
    capture, publish, verify = shared(made), shared(made), shared(made)
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    sampler = Sampler(capture, 2)
    sampler.look(pixels, frame())
    assert not publish.awaits(7)
    sampler.seal(7)
    # Only one frame in two, and none while the first is still there.
    for number in range(8, 12):
        sampler.look(pixels + 1, frame())
        sampler.seal(number)
    assert made.skipped == 2
    rng = np.random.default_rng(1)
    batch = {"boxes": rng.normal(size=(3, 2, 6)).astype(np.float32), "labels": rng.integers(0, 9, (3, 3), np.uint8)}
    assert publish.awaits(7)
    assert not publish.awaits(8)
    SampleArrays(publish, TENSORS).store(batch, 1)
    assert not verify.ready
    publish.hand_over()
    assert verify.ready
    assert not publish.awaits(7)
    assert verify.begin() == frame(7)
    arrays = SampleArrays(verify, TENSORS)
    assert np.array_equal(arrays.frame(2, 4), pixels[None])
    outputs = arrays.outputs()
    assert list(outputs) == ["boxes", "labels"]
    for name, array in outputs.items():
        assert array.dtype == batch[name].dtype
        assert np.array_equal(array, batch[name][1:2])
    verify.release()
    assert not verify.ready
    assert capture.claim()
    for each in (made, capture, publish, verify):
        each.close()


@pytest.mark.parametrize("settled", [3, 4])
def test_a_frame_that_is_dropped_gives_the_sample_back(settled: int) -> None:
    sample = Sample.create(24, TENSORS)
    assert sample.claim()
    sample.seal(3)
    sample.pass_by(2)
    assert not sample.claim()
    sample.pass_by(settled)
    assert sample.unpublished == 1
    assert sample.claim()
    sample.close()


def test_a_frame_over_which_verify_died_is_not_tried_again() -> None:
    sample = Sample.create(24, TENSORS)
    assert sample.claim()
    sample.seal(0)
    sample.hand_over()
    sample.recover_tried()
    assert sample.ready
    sample.begin()
    sample.recover_tried()
    assert not sample.ready
    assert sample.claim()
    sample.close()


class Family(RuleBasedStateMachine):
    """Capture, publish and verify in any order, each killed at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.sample = Sample.create(24, ())
        self.number = 0
        self.flying: list[int] = []
        self.pixels = -1
        self.outputs = -1
        self.claimed = False
        self.unsealed = -1
        self.looking = -1

    @precondition(lambda self: not self.claimed and self.unsealed < 0)
    @rule()
    def capture_claims(self) -> None:
        self.claimed = self.sample.claim()
        if self.claimed:
            assert self.looking < 0
            self.pixels = self.number

    @precondition(lambda self: self.unsealed < 0)
    @rule()
    def capture_hands_over(self) -> None:
        self.flying.append(self.number)
        if self.claimed:
            self.unsealed = self.number
        self.number += 1

    @precondition(lambda self: self.unsealed >= 0)
    @rule()
    def capture_seals(self) -> None:
        # By now the frame may have been published already: that happens.
        self.sample.seal(self.unsealed)
        self.claimed, self.unsealed = False, -1

    @rule()
    def capture_dies(self) -> None:
        self.sample.recover_claim()
        self.claimed, self.unsealed = False, -1

    @precondition(lambda self: self.flying)
    @rule(lost=st.booleans())
    def frame_arrives(self, lost: bool) -> None:
        number = self.flying.pop(0)
        if lost:
            return
        if self.sample.awaits(number):
            self.outputs = number
            self.sample.hand_over()
        else:
            self.sample.pass_by(number)

    @rule()
    def verify_begins(self) -> None:
        if self.looking < 0 and self.sample.ready:
            self.looking = self.sample.begin().frame_id
            assert self.looking == self.pixels == self.outputs

    @precondition(lambda self: self.looking >= 0)
    @rule()
    def verify_ends(self) -> None:
        assert self.looking == self.pixels == self.outputs
        self.sample.release()
        self.looking = -1

    @rule()
    def verify_dies(self) -> None:
        self.looking = -1
        self.sample.recover_tried()

    @invariant()
    def one_owner(self) -> None:
        assert not (self.claimed and (self.looking >= 0 or self.sample.ready))

    def teardown(self) -> None:
        # Whatever has happened, the sample comes free once everybody has gone on.
        if self.looking >= 0:
            self.verify_ends()
        self.capture_dies()
        self.sample.pass_by(self.number)
        if self.sample.ready:
            self.sample.begin()
            self.sample.release()
        assert self.sample.claim()
        self.sample.close()


TestFamily = Family.TestCase
TestFamily.settings = settings(deadline=None, max_examples=60, stateful_step_count=40)
