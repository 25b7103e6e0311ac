# SPDX-License-Identifier: Apache-2.0
"""When a source's next frame is expected."""

from __future__ import annotations

import random

import pytest

from edged.stages.collate.rhythm import Rhythm

MS = 1_000_000


def test_nothing_is_expected_of_a_source_before_its_second_frame() -> None:
    rhythm = Rhythm()
    assert rhythm.next_ns() == -1
    rhythm.observe(0, 5 * MS)
    assert rhythm.next_ns() == -1
    rhythm.observe(1, 15 * MS)
    assert rhythm.next_ns() == 25 * MS


def test_frames_that_nobody_saw_count_by_their_ids() -> None:
    rhythm = Rhythm()
    for frame_id in (0, 1, 4, 5, 50):
        rhythm.observe(frame_id, frame_id * 33 * MS)
    assert rhythm.interval_ns == pytest.approx(33 * MS)
    assert rhythm.next_ns() == pytest.approx(51 * 33 * MS)


def test_a_frame_seen_again_and_an_earlier_one_change_nothing() -> None:
    rhythm = Rhythm()
    for frame_id, at in ((0, 0), (1, 10), (1, 10), (0, 0), (1, 12), (2, 9)):
        rhythm.observe(frame_id, at * MS)
    assert (rhythm.last_id, rhythm.interval_ns) == (1, 10 * MS)


def test_a_pause_is_not_taken_for_a_new_rate_and_a_new_rate_is_followed() -> None:
    rhythm = Rhythm()
    at = 0
    for frame_id in range(100):
        rhythm.observe(frame_id, at)
        at += (540 if frame_id % 25 == 0 else 40) * MS  # half a second around each key frame
    assert 40 * MS <= rhythm.interval_ns < 45 * MS
    for frame_id in range(100, 140):
        rhythm.observe(frame_id, at)
        at += 200 * MS
    assert rhythm.interval_ns == pytest.approx(200 * MS, rel=0.02)


def test_most_frames_are_there_when_they_are_expected() -> None:
    chance, rhythm, at, in_time = random.Random(1), Rhythm(), 0.0, 0
    for frame_id in range(1000):
        expected, at = rhythm.next_ns(), at + 33 * MS
        ready = round(at + chance.gauss(0, 3 * MS))
        in_time += ready <= expected
        rhythm.observe(frame_id, ready)
    assert 0.7 < in_time / 1000 < 0.97
